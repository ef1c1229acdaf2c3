package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/serve"
)

func gitHub(ctx context.Context, of Installation, n *notes) error {
	cfg, err := serve.Load[github.Config](ctx, of.Env)
	if err != nil {
		return err
	}
	tokens := strings.FieldsFunc(string(cfg.Tokens), func(r rune) bool { return r == ',' || r == ' ' })
	if len(tokens) == 0 {
		n.warning("set GITHUB_TOKEN to read GitHub; a recording needs none", "there is no token: nothing is read from GitHub")
		return nil
	}
	for i, token := range tokens {
		if err := lookAtToken(ctx, cfg.URL, token, i+1, len(tokens), n); err != nil {
			return err
		}
	}
	return nil
}

func lookAtToken(ctx context.Context, address, token string, number, of int, n *notes) error {
	t := &asToken{token: token}
	var q struct {
		Viewer    struct{ Login string }
		RateLimit struct {
			Limit, Remaining int
			ResetAt          time.Time
		}
	}
	asked := time.Now()
	err := githubv4.NewEnterpriseClient(address, &http.Client{Transport: t}).Query(ctx, &q, nil)
	switch {
	case t.status == http.StatusUnauthorized:
		n.wrong("make a new token: this one was revoked, or has expired", "token %d of %d is refused", number, of)
		return nil
	case err != nil && t.status != 0:
		return fmt.Errorf("token %d of %d: status %d: %w", number, of, t.status, err)
	case err != nil:
		return err
	}
	if at, err := http.ParseTime(t.date); err == nil {
		n.clock(at, asked, time.Second)
	}
	left := fmt.Sprintf("token %d of %d is %s's, %d of %d points left", number, of, cmp.Or(q.Viewer.Login, "nobody"), q.RateLimit.Remaining, q.RateLimit.Limit)
	if q.RateLimit.Remaining < q.RateLimit.Limit/10 {
		n.warning("add a token of another user, or sweep fewer owners: pulse owners forecast", "%s until %s", left, q.RateLimit.ResetAt.UTC().Format("15:04 UTC"))
		return nil
	}
	n.ok("%s", left)
	return nil
}

// asToken sends a token, and keeps what its answer says.
type asToken struct {
	token, date string
	status      int
}

// RoundTrip implements http.RoundTripper.
func (t *asToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "bearer "+t.token)
	r.Header.Set("User-Agent", "m7pulse")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, errors.New("it cannot be reached: " + err.Error())
	}
	t.status, t.date = answer.StatusCode, answer.Header.Get("Date")
	return answer, nil
}

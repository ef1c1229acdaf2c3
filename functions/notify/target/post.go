package target

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	answerLimit = 8 * time.Second
	maxAnswer   = 4 << 10
)

// poster posts to one address, which no error of it shows.
type poster struct {
	address string
	client  *http.Client
}

// postJSON posts a value as JSON.
func (p *poster) postJSON(ctx context.Context, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return &Rejected{fmt.Errorf("encode a message: %w", err)}
	}
	return p.post(ctx, body, http.Header{"Content-Type": {"application/json"}})
}

// post posts a body. A status that another try may change is a Busy, any other that is
// no success a Rejected.
func (p *poster) post(ctx context.Context, body []byte, header http.Header) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address, bytes.NewReader(body))
	if err != nil {
		return &Rejected{errors.New("the address is invalid")}
	}
	r.Header = header
	r.Header.Set("User-Agent", "m7pulse-notify")
	resp, err := p.client.Do(r)
	if err != nil {
		var in *url.Error // which holds the address
		if errors.As(err, &in) {
			err = in.Err
		}
		return fmt.Errorf("post a message: %w", err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // for the error alone
	if resp.StatusCode/100 == 2 {
		return nil
	}
	cause := fmt.Errorf("post a message: status %d: %.200q", resp.StatusCode, answer)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if resp.StatusCode < 500 {
			return &Rejected{cause}
		}
	}
	busy := &Busy{Cause: cause}
	if seconds, err := strconv.ParseFloat(resp.Header.Get("Retry-After"), 64); err == nil && seconds > 0 && seconds < 1e6 {
		busy.After = time.Duration(seconds * float64(time.Second))
	}
	return busy
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/m7pulse/m7pulse/shared/event"
)

func registryServer(ctx context.Context, of Installation, n *notes) error {
	address := of.Env["SCHEMA_REGISTRY_URL"]
	if err := event.CheckRegistry(address); err != nil {
		return err
	}
	at, err := url.Parse(address)
	if err != nil {
		return errors.New("invalid address") // err may quote the password
	}
	opts := []sr.ClientOpt{sr.UserAgent("m7pulse")}
	if at.User != nil {
		password, _ := at.User.Password()
		opts = append(opts, sr.BasicAuth(at.User.Username(), password))
		at.User = nil
	}
	client, err := sr.NewClient(append(opts, sr.URLs(at.String()))...)
	if err != nil {
		return err
	}
	missing, fit := 0, 0
	for _, c := range event.Contracts() {
		have, err := client.SchemaByVersion(ctx, c.Subject(), -1)
		var answer *sr.ResponseError
		if errors.As(err, &answer) && answer.ErrorCode == 40401 { // there is no such subject
			missing++
			continue
		}
		if err != nil {
			return fmt.Errorf("ask for the newest schema of %s: %w", c.Subject(), err)
		}
		fits, err := client.CheckCompatibility(ctx, c.Subject(), have.Version, sr.Schema{Schema: c.Schema, Type: sr.TypeAvro})
		switch {
		case err != nil:
			return fmt.Errorf("ask whether our schema of %s is compatible: %w", c.Subject(), err)
		case !fits.Is:
			n.wrong("run the newer release, or another registry: records of this subject have another form", "%s: our schema is not compatible with version %d", c.Subject(), have.Version)
		default:
			fit++
		}
	}
	switch {
	case fit > 0 || missing > 0:
		n.ok("%d schemas compatible with ours, %d not registered yet: a function registers its own", fit, missing)
	}
	return nil
}

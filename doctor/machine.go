package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/functions/api"
	fetchevents "github.com/m7pulse/m7pulse/functions/fetch-events"
	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	"github.com/m7pulse/m7pulse/functions/notify"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// configuration loads the environment as each function does.
func configuration(ctx context.Context, of Installation, n *notes) error {
	faulty := false
	for _, f := range []struct {
		name string
		load func() error
	}{
		{"fetch-org", load[fetchorg.Config](ctx, of.Env)},
		{"fetch-events", load[fetchevents.Config](ctx, of.Env)},
		{"aggregate", load[aggregate.Config](ctx, of.Env)},
		{"sink-clickhouse", load[sinkclickhouse.Config](ctx, of.Env)},
		{"sink-iceberg", load[sinkiceberg.Config](ctx, of.Env)},
		{"api", load[api.Config](ctx, of.Env)},
		{"notify", load[notify.Config](ctx, of.Env)},
	} {
		if err := f.load(); err != nil {
			faulty = true
			n.wrong("correct the variable: the function does not start", "%s: %s", f.name, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "configuration: "), "\n", "; "))
		}
	}
	if !faulty {
		n.ok("every function could start with it")
	}
	return nil
}

func load[C serve.Config](ctx context.Context, env map[string]string) func() error {
	return func() error {
		_, err := serve.Load[C](ctx, env)
		return err
	}
}

// An hour of 30,000 repositories takes some 20 MB in all embedded servers.
const (
	littleRoom = 2 << 30
	noRoom     = 256 << 20
)

func disk(_ context.Context, of Installation, n *notes) error {
	if of.Home == "" {
		return nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(of.Home, &s); err != nil {
		return fmt.Errorf("ask for the room in %s: %w", of.Home, err)
	}
	free := s.Bavail * uint64(s.Bsize)
	note := n.ok
	switch {
	case free < noRoom:
		note = func(seen string, args ...any) {
			n.wrong("make room: the embedded servers stop at a full disk", seen, args...)
		}
	case free < littleRoom:
		note = func(seen string, args ...any) { n.warning("make room before it is full", seen, args...) }
	}
	note("%s free in %s", humanize.IBytes(free), of.Home)
	return nil
}

// Command aggregate is the function aggregate as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	"context"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/infra/local/host"
	"github.com/m7pulse/m7pulse/shared/serve"
)

func main() {
	host.RunWith(aggregate.New(), map[string]serve.Job{"drain": aggregate.Drain, "rebuild": rebuild})
}

func rebuild(ctx context.Context, environ map[string]string, _ serve.Measure) error {
	_, err := aggregate.Rebuild(ctx, environ, nil, func(int64, int64) {})
	return err
}

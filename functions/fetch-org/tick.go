package fetchorg

import (
	"context"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// tick requests a sweep of every owner, or the next parts of the sweeps that are
// open.
func (f *function) tick(ctx context.Context, e cloudevents.Event) error {
	do, err := serve.Tick(e)
	if err != nil {
		return err
	}
	switch do {
	case "sweep":
		at := e.Time()
		if at.IsZero() {
			at = time.Now()
		}
		return f.sweeper.RequestAll(ctx, at)
	case "wake":
		return f.sweeper.RequestOpen(ctx)
	}
	return event.Invalid("unknown action %q of a tick: want \"sweep\" or \"wake\"", do)
}

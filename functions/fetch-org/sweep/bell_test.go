package sweep

import (
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

func TestEachPageThatObservesRingsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.tick(s, "sweep")
		w.deliver(s)
		pages := w.line("Acme").Pages + w.line("jane").Pages
		bells := 0
		for end := time.Now().Add(5 * time.Second); bells == 0 && time.Now().Before(end); { // a page does not wait for its bell
			bells = len(w.records(event.BellTopic(event.TopicBaseRepos)))
		}
		if bells == 0 || int64(bells) > pages {
			t.Errorf("%d bells for %d pages, want one for each that observed something", bells, pages)
		}
		if n := len(w.observed()); bells >= n {
			t.Errorf("%d bells for %d observations", bells, n)
		}
	})
}

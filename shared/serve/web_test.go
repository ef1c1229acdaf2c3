package serve_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// web is a function that answers requests; both takes events besides.
type web struct{}

func (web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, bounded := r.Context().Deadline()
	body, err := io.ReadAll(r.Body)
	fmt.Fprint(w, r.Method, " ", r.URL.Path, " ", bounded, " ", len(body), " ", err)
}
func (web) Status() serve.Status        { return serve.Status{} }
func (web) Close(context.Context) error { return nil }

type both struct {
	fn
	web
}

func (b *both) Status() serve.Status        { return b.fn.Status() }
func (b *both) Close(context.Context) error { return nil }

func answered(t *testing.T, i *serve.Instance, r *http.Request) string {
	t.Helper()
	w := httptest.NewRecorder()
	i.Handle(w, r)
	return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
}

func TestWebFunctionAnswersRequestsAndItsHostTheRest(t *testing.T) {
	i := serve.NewWeb("test", func(context.Context, map[string]string) (serve.Web, error) { return web{}, nil })
	if err := i.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/": "200 GET / true 0 <nil>", "/a/b": "200 GET /a/b true 0 <nil>", "/status": "200 {}"} {
		if got := answered(t, i, httptest.NewRequest(http.MethodGet, path, nil)); got != want {
			t.Errorf("GET %s: %s, want %s", path, got, want)
		}
	}
	if got, want := answered(t, i, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))), "200 POST / true 2 <nil>"; got != want {
		t.Errorf("POST /: %s, want %s: it takes no events", got, want)
	}
	large := httptest.NewRequest(http.MethodPost, "/a", strings.NewReader(strings.Repeat("x", 1<<20+1)))
	if got := answered(t, i, large); !strings.Contains(got, "too large") {
		t.Errorf("a body of more than 1 MiB: %s", got)
	}
	if _, err := i.Open(t.Context(), nil); err == nil {
		t.Error("a function that takes no events was opened as one that does")
	}
}

func TestFunctionThatTakesEventsTooGetsWhatIsPostedToTheRoot(t *testing.T) {
	b := &both{}
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { return b, nil })
	if err := i.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := answered(t, i, binary("{}")); got != "204 " || len(b.got) != 1 {
		t.Errorf("an event: %s, received %d", got, len(b.got))
	}
	other := binary("{}")
	other.URL.Path = "/mcp"
	if got, want := answered(t, i, other), "200 POST /mcp true 2 <nil>"; got != want {
		t.Errorf("what is posted elsewhere: %s, want %s", got, want)
	}
	if got, want := answered(t, i, httptest.NewRequest(http.MethodGet, "/", nil)), "200 GET / true 0 <nil>"; got != want {
		t.Errorf("GET /: %s, want %s", got, want)
	}
}

package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/shared/child"
)

// Status is how a stack fares.
type Status struct {
	Emulation string   `json:"emulation"` // what replaces Knative
	Home      string   `json:"home"`
	PID       int      `json:"pid"`
	RSS       int64    `json:"resident_bytes,omitempty"`
	Live      bool     `json:"live"` // reads GitHub
	Servers   []Server `json:"servers"`
	knative.Status
}

// controlName is the variable with the control address.
const controlName = "PULSE_CONTROL_URL"

// startControl opens the address by which the command line speaks to the stack.
func (s *Stack) startControl(ctx context.Context, cfg Config, ports *ports) error {
	live := Live(cfg.Env)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		status, err := s.Cluster.Status(r.Context())
		if err != nil {
			slog.Warn("read the status", "error", err)
		}
		servers := make([]Server, len(s.Servers))
		for i, server := range s.Servers {
			server.RSS = child.Resident(server.PID)
			servers[i] = server
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(Status{
			Emulation: "a local emulation of Knative Serving, PingSource and KafkaSource; not Knative",
			Home:      string(cfg.Home), PID: os.Getpid(), RSS: child.Resident(os.Getpid()), Live: live, Servers: servers, Status: status,
		}); err != nil {
			slog.Warn("write the status", "error", err)
		}
	})
	act := func(do func(context.Context, string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context(), r.PathValue("function")); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
			}
		}
	}
	// Pages without scripts that load nothing: what a name on GitHub says stays text.
	pages := http.StripPrefix("/quality/", http.FileServer(http.Dir(cfg.Home.QualityDir())))
	mux.HandleFunc("GET /quality/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		pages.ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /tick/{function}", act(s.Cluster.Tick))
	mux.HandleFunc("POST /wake/{function}", act(s.Cluster.Wake))
	address, err := s.listen(ports, "control", mux)
	if err != nil {
		return err
	}
	s.Env[controlName] = "http://" + address
	return nil
}

// Control speaks to a stack that is up.
type Control struct {
	url    string
	client *http.Client
}

// NewControl returns the control of the stack with these addresses.
func NewControl(env map[string]string) *Control {
	return &Control{url: env[controlName], client: &http.Client{Timeout: 2 * time.Minute}}
}

// Status asks the stack how it fares.
func (c *Control) Status(ctx context.Context) (s Status, err error) {
	body, err := c.do(ctx, http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// Tick has a function sweep now.
func (c *Control) Tick(ctx context.Context, function string) error {
	_, err := c.do(ctx, http.MethodPost, "/tick/"+function)
	return err
}

// Wake has a function do what is left to do.
func (c *Control) Wake(ctx context.Context, function string) error {
	_, err := c.do(ctx, http.MethodPost, "/wake/"+function)
	return err
}

func (c *Control) do(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the stack: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("ask the stack: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(body)))
	}
	return body, nil
}

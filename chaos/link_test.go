package chaos

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// link is the way from all functions to one server: a proxy that can be closed,
// slowed and cut, and behind it a gate that can be trapped.
type link struct {
	proxy *toxiproxy.Proxy
	gate  *gate
	one   sync.Mutex // one fault of the network at a time
}

// newLink opens the way; to may be unknown until gate.lead is called.
func newLink(t *testing.T, name, to string) *link {
	t.Helper()
	g := newGate(t, to)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &link{gate: g, proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", g.listener.Addr().String())}
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

// addr is where functions reach the server.
func (l *link) addr() string { return l.proxy.Listen }

// down breaks all connections, and refuses new ones, for a time.
func (l *link) down(ctx context.Context, d time.Duration) error {
	l.one.Lock()
	defer l.one.Unlock()
	l.proxy.Stop()
	pause(ctx, d)
	return l.proxy.Start()
}

// toxic spoils the stream to the server ("upstream") or from it ("downstream")
// for a time.
func (l *link) toxic(ctx context.Context, d time.Duration, stream, kind, attributes string) error {
	l.one.Lock()
	defer l.one.Unlock()
	text := fmt.Sprintf(`{"name":"fault","type":%q,"stream":%q,"toxicity":1,"attributes":{%s}}`, kind, stream, attributes)
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	pause(ctx, d)
	return l.proxy.Toxics.RemoveToxic(context.Background(), "fault")
}

// pause waits for a time, or until the round ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// gate passes the bytes of connections on, and looks at them on their way.
type gate struct {
	listener net.Listener

	mu    sync.Mutex
	to    string
	traps []*trap // that wait, the earliest first
}

// trap waits for a request and then, before it is passed on or when it has been
// answered but the answer has not been passed on, springs: it does something, and
// breaks the connection.
type trap struct {
	sees   func(chunk []byte) bool
	after  bool
	spring func()
	sprung chan struct{} // closed when it has sprung
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	g := &gate{listener: l, to: to}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(conn)
		}
	}()
	return g
}

// lead sets the server that the gate leads to.
func (g *gate) lead(to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = to
}

// set lays a trap and waits until it springs or ctx ends, and says whether it did.
func (g *gate) set(ctx context.Context, t *trap) bool {
	t.sprung = make(chan struct{})
	g.mu.Lock()
	g.traps = append(g.traps, t)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.traps = slices.DeleteFunc(g.traps, func(other *trap) bool { return other == t })
	}()
	select {
	case <-t.sprung:
		return true
	case <-ctx.Done():
		return false
	}
}

// caught takes away the first trap for this chunk.
func (g *gate) caught(chunk []byte) *trap {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, t := range g.traps {
		if t.sees(chunk) {
			g.traps = slices.Delete(g.traps, i, i+1)
			return t
		}
	}
	return nil
}

func (g *gate) pass(client net.Conn) {
	defer client.Close()
	g.mu.Lock()
	to := g.to
	g.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var mu sync.Mutex
	var waiting *trap // for the answer of what it caught
	go func() {
		defer client.Close()
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if n > 0 {
				mu.Lock()
				t := waiting
				mu.Unlock()
				if t != nil {
					t.spring()
					close(t.sprung)
					return
				}
				if _, err := client.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			if t := g.caught(buffer[:n]); t != nil {
				if !t.after {
					t.spring()
					close(t.sprung)
					return
				}
				mu.Lock()
				waiting = t
				mu.Unlock()
			}
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// contains sees a chunk that holds all of the texts.
func contains(texts ...string) func([]byte) bool {
	return func(chunk []byte) bool {
		for _, t := range texts {
			if !bytes.Contains(chunk, []byte(t)) {
				return false
			}
		}
		return true
	}
}

// request sees a chunk that begins with a Kafka request of a kind.
func request(key int16) func([]byte) bool {
	return func(chunk []byte) bool {
		return len(chunk) >= 8 && int16(chunk[4])<<8|int16(chunk[5]) == key && chunk[0] == 0 && chunk[6] == 0 && chunk[7] < 20
	}
}

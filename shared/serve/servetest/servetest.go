// Package servetest runs a function under test as a process of its own, which can
// be killed, and looks for what it leaves open.
package servetest

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"go.uber.org/goleak"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// processKey makes a test program be the function: a server that prints its
// address and runs until its input ends.
const processKey = "SERVETEST_PROCESS"

// Main is the body of a TestMain: it runs the tests or, in a process that Start has
// started, the function.
func Main(m *testing.M, function func() *serve.Instance) {
	flag.Parse()
	if os.Getenv(processKey) == "" {
		os.Exit(m.Run())
	}
	if err := run(function()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(instance *serve.Instance) error {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	if err := instance.Start(context.Background(), env); err != nil {
		return err
	}
	server := httptest.NewServer(http.HandlerFunc(instance.Handle))
	defer server.Close()
	fmt.Println(server.URL)
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, instance.Stop(context.Background()))
}

// Process is a process of the function.
type Process struct {
	cmd   *exec.Cmd
	input io.Closer // the process lives as long as its input
	url   string
}

// Start starts a process of the function whose package is tested, with env beside
// this process's environment, and returns when it takes events. What it writes to
// its standard error goes to log. It is killed when the test ends.
func Start(t testing.TB, env map[string]string, log io.Writer) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), processKey+"=1")
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stderr = log
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for lines := bufio.NewScanner(out); lines.Scan(); { // the function may log to it too
		if p.url = lines.Text(); strings.HasPrefix(p.url, "http://") {
			return p
		}
	}
	p.Kill()
	t.Fatalf("the function does not start\n%s", log)
	return nil
}

// Kill ends the process with SIGKILL.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// End has the process end by itself, and returns what it used.
func (p *Process) End() (*os.ProcessState, error) {
	err := errors.Join(p.input.Close(), p.cmd.Wait())
	return p.cmd.ProcessState, err
}

// Post posts an event, as a source does; an answer other than 2xx is an error.
func (p *Process) Post(ctx context.Context, e cloudevents.Event) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, nil)
	if err != nil {
		return err
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&e), r); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// Event is an event that somebody posts by hand.
func Event(t testing.TB, ceType string, data any) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID("by-hand")
	e.SetSource("/test")
	e.SetType(ceType)
	e.SetTime(time.Now())
	if err := e.SetData(event.ContentJSON, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// FailsAndLeavesNothingOpen has open fail with an error that contains want, and
// holds it to closing the connections and goroutines that it opened before, within
// 5 s.
func FailsAndLeavesNothingOpen(t testing.TB, want string, open func() error) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	if err := open(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want a fault in %s", err, want)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := goleak.Find(before)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %.300s", want, err)
			return
		}
	}
}

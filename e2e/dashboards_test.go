package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWithoutPythonAndWithItsPortTakenTheStackComesUpAndSaysSo(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "127.0.0.1:8088"); err == nil { // else somebody else has it
		defer l.Close()
	}
	p := newPulse(t, "PATH="+t.TempDir())
	p.run("up", "--detach", "--empty", "--superset")
	var said string
	for began := time.Now(); time.Since(began) < time.Minute && !strings.Contains(said, "No dashboards"); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(p.home, "log", "up.log"))
		if err != nil {
			t.Fatal(err)
		}
		said = string(text)
	}
	for _, want := range []string{"port 8088 is taken, so it will be at http://localhost:", "No dashboards: ", "Python 3.11", "Everything else goes on"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if a := p.audit(); !a.Clean {
		t.Errorf("audit: %+v", a)
	}
	p.run("down")

	p.run("up", "--detach", "--empty") // as `make up SUPERSET=0` does
	text, err := os.ReadFile(filepath.Join(p.home, "log", "up.log"))
	if err != nil || strings.Contains(string(text), "Superset") || strings.Contains(string(text), "No dashboards") {
		t.Errorf("without --superset: %v\n%s", err, text)
	}
}

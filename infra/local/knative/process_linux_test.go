package knative

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/child"
)

func TestFunctionsDoNotOutliveARunnerThatIsKilled(t *testing.T) {
	runner := exec.Command(os.Args[0])
	runner.Env = append(os.Environ(), childMode+"=runner")
	out, err := runner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if child.Resident(pid) == 0 {
		t.Errorf("pid %d holds no memory", pid)
	}
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the function is in process group %d, %v: an interrupt at the terminal would reach it", group, err)
	}
	if err := runner.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = runner.Wait() // "signal: killed"
	for deadline := time.Now().Add(5 * time.Second); child.Resident(pid) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("pid %d lives on", pid)
		}
	}
}

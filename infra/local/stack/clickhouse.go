package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/shared/download"
)

// startupLimit is how long an embedded ClickHouse may take until it answers.
const startupLimit = 60 * time.Second

func (s *Stack) startClickHouse(ctx context.Context, cfg Config, ports *ports) error {
	if s.use(cfg, "clickhouse", "CLICKHOUSE_URL", "CLICKHOUSE_READER_URL") {
		return nil
	}
	port, err := ports.get("clickhouse")
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	password, err := cfg.Home.readerPassword()
	if err != nil {
		return err
	}
	cmd, kind, err := clickHouseCommand(ctx, cfg, address, password)
	if err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	log, err := os.OpenFile(cfg.Home.path("log", "clickhouse.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ChildAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	s.onClose(func(context.Context) error { return stopProcess(cmd.Process, exited) })
	if err := answering(ctx, "http://"+address+"/ping", exited); err != nil {
		return fmt.Errorf("start clickhouse: %w; its log is %s", err, log.Name())
	}
	s.Env["CLICKHOUSE_URL"] = "http://" + address
	s.Env["CLICKHOUSE_READER_URL"] = "http://" + readerUser + ":" + password + "@" + address
	s.Servers = append(s.Servers, Server{Name: "clickhouse", Kind: kind, Address: "http://" + address, PID: cmd.Process.Pid})
	return nil
}

// readerUser may read the tables and nothing else: the dashboards are theirs.
const readerUser = "reader"

// readerPassword is random, and lasts as long as the home.
func (h Home) readerPassword() (string, error) {
	path := h.path("clickhouse-reader")
	b, err := os.ReadFile(path)
	if err == nil {
		return string(b), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the password of ClickHouse's reader: %w", err)
	}
	password := rand.Text()
	return password, replaceFile(path, []byte(password))
}

func clickHouseCommand(ctx context.Context, cfg Config, address, password string) (*exec.Cmd, string, error) {
	data := cfg.Home.path("clickhouse")
	if binary, err := exec.LookPath("clickhouse"); err == nil {
		cmd, err := clickhouse.Native(binary, clickhouse.Config{
			DataDir: data, Addr: address, Reader: clickhouse.Reader{User: readerUser, Password: password},
		})
		return cmd, "clickhouse server", err
	}
	said := false
	engine, err := library.Fetch(ctx, func(p download.Progress) {
		if !said && p.Stage == download.Downloading {
			cfg.Say("Fetching the ClickHouse engine by npm, once (170 MB) …")
			said = true
		}
	})
	if err != nil {
		return nil, "", err
	}
	cmd := exec.Command(cfg.Self, "embedded", "clickhouse", "--library", engine, "--data", data, "--address", address, "--reader", readerUser)
	cmd.Env = append(os.Environ(), "TZ=UTC", "CLICKHOUSE_READER_PASSWORD="+password) // the engine takes the zone of its process
	return cmd, "embedded libchdb", nil
}

// answering waits until an address answers 200, or the process behind it ends.
func answering(ctx context.Context, url string, exited chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startupLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("it ended at once: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("no answer in %s", startupLimit)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stopProcess ends a server with SIGTERM, after 30 s with SIGKILL.
func stopProcess(p *os.Process, exited chan error) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop pid %d: %w", p.Pid, err)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(30 * time.Second):
		return p.Kill()
	}
}

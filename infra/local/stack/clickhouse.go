package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/library"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/download"
)

// stopGrace is how long a server may take to write what it has.
const stopGrace = 30 * time.Second

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
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start clickhouse: %w", err)
	}
	s.onClose(func(context.Context) error {
		if err := process.Stop(stopGrace); err != nil {
			return fmt.Errorf("stop clickhouse: %w", err)
		}
		return nil
	})
	starting, cancel := context.WithTimeoutCause(ctx, startupLimit, fmt.Errorf("no answer in %s", startupLimit))
	defer cancel()
	if err := process.AwaitHTTP(starting, "http://"+address+"/ping"); err != nil {
		return fmt.Errorf("start clickhouse: %w; its log is %s", err, log.Name())
	}
	s.Env["CLICKHOUSE_URL"] = "http://" + address
	s.Env["CLICKHOUSE_READER_URL"] = "http://" + readerUser + ":" + password + "@" + address
	s.Servers = append(s.Servers, Server{Name: "clickhouse", Kind: kind, Address: "http://" + address, PID: process.PID()})
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
	settings := clickhouse.Config{DataDir: cfg.Home.path("clickhouse"), Addr: address, Reader: clickhouse.Reader{User: readerUser, Password: password}}
	if binary, err := exec.LookPath("clickhouse"); err == nil {
		cmd, err := clickhouse.Native(binary, settings)
		return cmd, "clickhouse server", err
	}
	said := false
	engine, err := library.Fetch(ctx, func(p download.Progress) {
		if !said && p.Stage == download.Downloading {
			cfg.Say("Fetching the ClickHouse engine by npm, once (170 MB) …")
			said = true
		}
		if cfg.Fetching != nil {
			cfg.Fetching(p.Done, p.Total)
		}
	})
	if err != nil {
		return nil, "", err
	}
	settings.Library = engine
	return clickhouse.Embedded(cfg.Self, settings), "embedded libchdb", nil
}

package clickhouse

import (
	"os"
	"os/exec"
)

// Embedded returns the command by which the program pulse runs Serve in a process of its own, for cfg's library, data, address and users. The caller starts
// and stops it; it answers GET /ping once it is ready.
func Embedded(pulse string, cfg Config) *exec.Cmd {
	args := []string{"embedded", "clickhouse", "--library", cfg.Library, "--data", cfg.DataDir, "--address", cfg.Addr}
	if cfg.Reader.User != "" {
		args = append(args, "--reader", cfg.Reader.User)
	}
	cmd := exec.Command(pulse, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "CLICKHOUSE_PASSWORD="+cfg.Password, "CLICKHOUSE_READER_PASSWORD="+cfg.Reader.Password) // the engine takes the zone of its process
	return cmd
}

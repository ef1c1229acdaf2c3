package serve

import (
	"log/slog"
	"math"

	"go.uber.org/zap/exp/zapslog"
	"knative.dev/pkg/logging"

	"github.com/m7pulse/m7pulse/shared/trace"
)

// StartLog has the process log as Knative's components do: JSON on stderr, one
// object a line, so no text of others can pass for a line of its own. Its level and
// form are those of K_LOGGING_CONFIG, in which Knative hands its components the
// data of the ConfigMap config-logging as JSON. Of a message
// that comes more than 100 times a second, a hundredth is kept from then on. Start
// calls it; a host calls it before, for what it logs itself. Only the first call
// has an effect.
func (i *Instance) StartLog(environ map[string]string) {
	i.log.Do(func() {
		cfg, err := logging.JSONToConfig(environ["K_LOGGING_CONFIG"])
		if err != nil {
			cfg = &logging.Config{}
		}
		logger, _ := logging.NewLoggerFromConfig(cfg, i.name) // its level is that of the configuration
		// A stack says no more than the caller, which each line has.
		slog.SetDefault(slog.New(trace.LogHandler(zapslog.NewHandler(logger.Desugar().Core(), zapslog.WithName(i.name), zapslog.WithCaller(true), zapslog.AddStacktraceAt(slog.Level(math.MaxInt))))))
		if err != nil && environ["K_LOGGING_CONFIG"] != "" {
			slog.Warn("logging as by default: K_LOGGING_CONFIG cannot be read", "error", err)
		}
	})
}

package trace

import (
	"context"
	"log/slog"
)

// LogHandler adds trace_id and span_id to what is logged within a trace that is sent.
func LogHandler(to slog.Handler) slog.Handler { return logHandler{to} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if p := PlaceOf(ctx); p.IsValid() {
		r.AddAttrs(slog.String("trace_id", p.TraceID().String()), slog.String("span_id", p.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name)}
}

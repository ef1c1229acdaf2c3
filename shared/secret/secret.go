// Package secret holds what must not be shown: tokens, and addresses with passwords.
package secret

import (
	"fmt"
	"log/slog"
)

// Text is a text that printers, loggers and encoders do not show.
type Text string

const hidden = "[secret]"

// Format writes a placeholder, whatever the verb.
func (Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue is a placeholder.
func (Text) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns a placeholder.
func (Text) MarshalText() ([]byte, error) { return []byte(hidden), nil }

package target

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// TypeDigest is the type of an event that holds the signals of a day or a week.
const TypeDigest = "dev.m7pulse.signals.digest.v1"

// webhook posts a CloudEvent in structured mode, signed as the Standard Webhooks
// specification says: HMAC-SHA256 over id.time.body, in the header webhook-signature.
// webhook-id is the message's id, by which a receiver knows a repeat.
type webhook struct {
	poster
	key []byte
	now func() time.Time
}

const minKey, maxKey = 24, 64 // bytes, by the specification

// webhookKey reads a secret such as whsec_…: base64 of 24 to 64 bytes.
func webhookKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("the secret is not whsec_ and base64 of %d to %d bytes", minKey, maxKey)
	}
	return key, nil
}

// cloudEvent is an event in structured mode.
type cloudEvent struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject,omitempty"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype"`
	Kind        string    `json:"kind,omitempty"`
	Severity    string    `json:"severity,omitempty"`
	Data        any       `json:"data"`
}

type digest struct {
	Signals []*event.Signal `json:"signals"`
	Left    int             `json:"left"`
}

// Send implements Target.
func (w *webhook) Send(ctx context.Context, m Message) error {
	now := w.now().UTC()
	e := cloudEvent{SpecVersion: "1.0", ID: m.ID, Source: "/m7pulse/notify", Type: TypeDigest, Time: now, ContentType: "application/json", Data: digest{m.Signals, m.Left}}
	if !m.Digest {
		s := m.Signals[0]
		e.ID, e.Source, e.Type, e.Time = s.ID, "/m7pulse/"+s.Function(), event.TypeSignal, s.ObservedAt
		e.Subject, e.Kind, e.Severity, e.Data = s.Owner, s.Kind, s.Severity, s
		if s.NameWithOwner != nil {
			e.Subject = *s.NameWithOwner
		}
	}
	body, err := json.Marshal(e)
	if err != nil {
		return &Rejected{errors.New("encode a message")}
	}
	at := strconv.FormatInt(now.Unix(), 10)
	h := http.Header{"Content-Type": {"application/cloudevents+json"}}
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(sign(w.key, m.ID, at, body)))
	return w.post(ctx, body, h)
}

func sign(key []byte, id, at string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	return mac.Sum(nil)
}

// Pace implements Target.
func (*webhook) Pace() time.Duration { return 0 }

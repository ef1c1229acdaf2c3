package event

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// The content types of a payload.
const (
	ContentAvro = "application/avro"
	ContentJSON = "application/json"
)

// MayRepeat is the CloudEvents extension of events whose observation may be in
// the stores already at another offset: replays, events posted by hand, late
// ones and restatements. A sink looks up the key of such a record before it
// adds a row.
const MayRepeat = "mayrepeat"

// The CloudEvents extensions of signals, by which a Trigger can filter.
const (
	ExtKind     = "kind"
	ExtSeverity = "severity"
)

// maxPayload bounds one payload and each text or list within, in bytes, before it
// is read: JSON takes more than the Avro that it becomes.
const maxPayload = 1 << 20

// For how long, and for how many schema ids, the codec remembers that the registry
// does not know them.
const (
	missingFor = 10 * time.Second
	maxMissing = 1_000
)

// frame is the Confluent wire format: a zero byte, then the schema id.
const frame = 5

// Codec turns payloads into Kafka records and back. It registers the schemas that it
// writes with, and resolves what it reads against the schema that it was written
// with, so producers and consumers of different versions can run together.
// It is safe for use by several goroutines.
type Codec struct {
	registry *sr.Client
	now      func() time.Time

	newest             Newest    // nil: the codec's records are not written to Kafka
	decoders, encoders sync.Pool // *avro.Reader, *avro.Writer

	mu      sync.RWMutex
	written map[string]encoding      // by event type: what this codec registered
	writers map[writer][]run         // resolved for reading
	missing map[writer]missingSchema // at most maxMissing
}

// missingSchema is why the registry had no schema to read a record with.
type missingSchema struct {
	reason *noSchema
	until  time.Time // then the registry is asked again
}

// encoding is what all records of a type share.
type encoding struct {
	id      int
	runs    []run
	headers []kgo.RecordHeader
}

type writer struct {
	id     int
	ceType string // that it is read as
}

// CheckRegistry checks an address of a schema registry without quoting it.
func CheckRegistry(registryURL string) error { return address.URL(registryURL, "http", "https") }

// NewCodec returns a codec over the registry at the given address, an http or
// https URL. User and password in it are sent by basic authentication.
func NewCodec(registryURL string) (*Codec, error) {
	if err := CheckRegistry(registryURL); err != nil {
		return nil, fmt.Errorf("invalid SCHEMA_REGISTRY_URL: %w", err)
	}
	at, err := url.Parse(registryURL)
	if err != nil {
		return nil, errors.New("invalid SCHEMA_REGISTRY_URL") // err may quote the password
	}
	opts := []sr.ClientOpt{sr.UserAgent("m7pulse")}
	if at.User != nil {
		password, _ := at.User.Password()
		opts = append(opts, sr.BasicAuth(at.User.Username(), password))
		at.User = nil
	}
	client, err := sr.NewClient(append(opts, sr.URLs(at.String()))...)
	if err != nil {
		return nil, fmt.Errorf("schema registry %s: %w", at, err)
	}
	api := avro.Config{MaxByteSliceSize: maxPayload, MaxSliceAllocSize: maxPayload}.Freeze()
	return &Codec{
		registry: client,
		now:      time.Now,
		decoders: sync.Pool{New: func() any { return avro.NewReader(nil, 0, avro.WithReaderConfig(api)) }},
		encoders: sync.Pool{New: func() any { return avro.NewWriter(nil, 1024, avro.WithWriterConfig(api)) }},
		written:  map[string]encoding{},
		writers:  map[writer][]run{},
		missing:  map[writer]missingSchema{},
	}, nil
}

// Newest returns some of the newest records of a topic, none of an empty one.
type Newest func(ctx context.Context, topic string) ([]*kgo.Record, error)

// NewWriter returns a codec for a process that writes to Kafka. Before the first
// record of a type it reads the newest ones of the topic. If their schema ids are
// unknown, the registry is the wrong one or has lost its schemas, and records written
// with the ids that it would give could not be read by the right one: the error wraps
// ErrUnknownSchema.
func NewWriter(registryURL string, newest Newest) (*Codec, error) {
	c, err := NewCodec(registryURL)
	if err != nil {
		return nil, err
	}
	c.newest = newest
	return c, nil
}

// checkRegistry checks that the registry knows the schemas of a topic's newest records.
func (c *Codec) checkRegistry(ctx context.Context, contract Contract) error {
	if c.newest == nil {
		return nil
	}
	records, err := c.newest(ctx, contract.Topic)
	if err != nil {
		return fmt.Errorf("read the newest records of %s: %w", contract.Topic, err)
	}
	var unknown error
	for _, r := range records {
		err := c.read(ctx, contract.Type, r, contract.blank())
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrUnknownSchema):
			unknown = fmt.Errorf("%s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
		case !errors.Is(err, ErrInvalid):
			return err
		}
	}
	return unknown
}

// Register registers the schemas of types. It is safe to repeat. That a schema is
// incompatible with an earlier one is an error that is not retryable.
func (c *Codec) Register(ctx context.Context, types ...string) error {
	for _, t := range types {
		contract, err := ContractOf(t)
		if err != nil {
			return err
		}
		if _, err := c.encoding(ctx, contract); err != nil {
			return err
		}
	}
	return nil
}

func (c *Codec) encoding(ctx context.Context, contract Contract) (encoding, error) {
	c.mu.RLock()
	e, ok := c.written[contract.Type]
	c.mu.RUnlock()
	if ok {
		return e, nil
	}
	schema, err := avro.ParseWithCache(contract.Schema, "", &avro.SchemaCache{})
	if err != nil {
		return encoding{}, fmt.Errorf("parse the schema of %s: %w", contract.Type, err)
	}
	runs, err := layout(schema, schema, contract.blank())
	if err != nil {
		return encoding{}, fmt.Errorf("lay out the schema of %s: %w", contract.Type, err)
	}
	if err := c.checkRegistry(ctx, contract); err != nil {
		return encoding{}, err
	}
	id, err := c.registry.RegisterSchema(ctx, contract.Subject(), sr.Schema{Schema: contract.Schema}, -1, -1)
	if err != nil {
		return encoding{}, fmt.Errorf("register the schema of %s: %w", contract.Subject(), err)
	}
	e = encoding{id: id, runs: runs, headers: []kgo.RecordHeader{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_type", Value: []byte(contract.Type)},
		{Key: "content-type", Value: []byte(ContentAvro)},
	}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written[contract.Type] = e
	return e, nil
}

// Record encodes a *RepoObserved, *RepoProcessed, *OwnerSwept, *GitHubEvent, *FeedRead,
// *Signal or *FetchRequested as the record of its topic. mayRepeat sets the mark MayRepeat.
func (c *Codec) Record(ctx context.Context, v any, mayRepeat bool) (*kgo.Record, error) {
	p, contract, err := payloadOf(v)
	if err != nil {
		return nil, err
	}
	source := contract.source
	if s, ok := v.(*Signal); ok { // two functions emit these
		source = "/m7pulse/" + s.Function()
	}
	return c.record(ctx, contract, p, origin{source: source, mayRepeat: mayRepeat})
}

// origin is the part of a record's attributes that depends on its sender.
type origin struct {
	id        string // "": derived from the payload
	source    string
	mayRepeat bool
}

func (c *Codec) record(ctx context.Context, contract Contract, p payload, o origin) (*kgo.Record, error) {
	enc, err := c.encoding(ctx, contract)
	if err != nil {
		return nil, err
	}
	a := p.attributes()
	if o.id == "" {
		o.id = a.id
	}
	value, err := c.encode(enc, p)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", contract.Type, o.id, err)
	}
	r := &struct { // one allocation for both
		kgo.Record
		headers [8]kgo.RecordHeader
	}{Record: kgo.Record{Topic: contract.Topic, Key: []byte(a.key), Value: value}}
	headers := append(r.headers[:0], enc.headers...)
	headers = append(headers, kgo.RecordHeader{Key: "ce_id", Value: []byte(o.id)}, kgo.RecordHeader{Key: "ce_source", Value: []byte(o.source)})
	if a.subject != "" {
		headers = append(headers, kgo.RecordHeader{Key: "ce_subject", Value: []byte(a.subject)})
	}
	if !a.time.IsZero() {
		headers = append(headers, kgo.RecordHeader{Key: "ce_time", Value: a.time.UTC().AppendFormat(make([]byte, 0, len(time.RFC3339Nano)), time.RFC3339Nano)})
	}
	if o.mayRepeat {
		headers = append(headers, kgo.RecordHeader{Key: "ce_" + MayRepeat, Value: []byte("true")})
	}
	r.Headers = append(headers, a.extensions...)
	return &r.Record, nil
}

// encode returns a payload in the Confluent frame.
func (c *Codec) encode(enc encoding, p payload) ([]byte, error) {
	w := c.encoders.Get().(*avro.Writer)
	defer func() {
		w.Reset(nil)
		w.Error = nil
		c.encoders.Put(w)
	}()
	var head [frame]byte
	binary.BigEndian.PutUint32(head[1:], uint32(enc.id))
	if _, err := w.Write(head[:]); err != nil {
		return nil, err
	}
	parts := p.parts()
	for i := range enc.runs {
		enc.runs[i].write(w, parts)
	}
	return bytes.Clone(w.Buffer()), w.Error
}

// Accept checks an event from outside, posted by hand or replayed, and returns
// the record to produce: in Avro, whatever its content type was, with its own id and
// source, marked as MayRepeat.
func (c *Codec) Accept(ctx context.Context, e cloudevents.Event) (*kgo.Record, error) {
	contract, err := ContractOf(e.Type())
	if err != nil {
		return nil, err
	}
	if err := checkAttributes(e.ID(), e.Source()); err != nil {
		return nil, Invalid("id or source: %w", err)
	}
	content, err := contentOf(e)
	if err != nil {
		return nil, err
	}
	p := contract.blank()
	err = c.decode(ctx, contract, content, e.Data(), p)
	if errors.Is(err, ErrUnknownSchema) { // the sender still has the event
		err = Invalid("%w", err)
	}
	if err != nil {
		return nil, err
	}
	return c.record(ctx, contract, p, origin{id: e.ID(), source: e.Source(), mayRepeat: true})
}

// Observed reads a RepoObserved record.
func (c *Codec) Observed(ctx context.Context, r *kgo.Record) (*RepoObserved, error) {
	o := &RepoObserved{}
	return o, c.ObservedInto(ctx, r, o)
}

// ObservedInto is Observed into memory that is reused: nothing that was read into o
// before, or that it points to, may still be in use. After an error the content of o
// is undefined.
func (c *Codec) ObservedInto(ctx context.Context, r *kgo.Record, o *RepoObserved) error {
	o.Languages, o.Topics = o.Languages[:0], o.Topics[:0] // the decoder appends to lists
	return c.read(ctx, TypeRepoObserved, r, (*observed)(o))
}

// Processed reads a RepoProcessed record.
func (c *Codec) Processed(ctx context.Context, r *kgo.Record) (*RepoProcessed, error) {
	p := &RepoProcessed{}
	return p, c.ProcessedInto(ctx, r, p)
}

// ProcessedInto is to Processed what ObservedInto is to Observed.
func (c *Codec) ProcessedInto(ctx context.Context, r *kgo.Record, p *RepoProcessed) error {
	p.Languages, p.Topics = p.Languages[:0], p.Topics[:0]
	p.Velocities = velocity.Velocities{} // the decoder does not touch one that is null
	return c.read(ctx, TypeRepoProcessed, r, p)
}

// Swept reads an OwnerSwept record.
func (c *Codec) Swept(ctx context.Context, r *kgo.Record) (*OwnerSwept, error) {
	l := &OwnerSwept{}
	return l, c.SweptInto(ctx, r, l)
}

// SweptInto is to Swept what ObservedInto is to Observed.
func (c *Codec) SweptInto(ctx context.Context, r *kgo.Record, l *OwnerSwept) error {
	return c.read(ctx, TypeOwnerSwept, r, l)
}

// GitHubEvent reads a GitHubEvent record.
func (c *Codec) GitHubEvent(ctx context.Context, r *kgo.Record) (*GitHubEvent, error) {
	e := &GitHubEvent{}
	return e, c.GitHubEventInto(ctx, r, e)
}

// GitHubEventInto is to GitHubEvent what ObservedInto is to Observed.
func (c *Codec) GitHubEventInto(ctx context.Context, r *kgo.Record, e *GitHubEvent) error {
	return c.read(ctx, TypeGitHubEvent, r, (*happened)(e))
}

// FeedRead reads a FeedRead record.
func (c *Codec) FeedRead(ctx context.Context, r *kgo.Record) (*FeedRead, error) {
	l := &FeedRead{}
	return l, c.FeedReadInto(ctx, r, l)
}

// FeedReadInto is to FeedRead what ObservedInto is to Observed.
func (c *Codec) FeedReadInto(ctx context.Context, r *kgo.Record, l *FeedRead) error {
	return c.read(ctx, TypeFeedRead, r, (*feedRead)(l))
}

// Signal reads a Signal record.
func (c *Codec) Signal(ctx context.Context, r *kgo.Record) (*Signal, error) {
	s := &Signal{}
	return s, c.SignalInto(ctx, r, s)
}

// SignalInto is to Signal what ObservedInto is to Observed.
func (c *Codec) SignalInto(ctx context.Context, r *kgo.Record, s *Signal) error {
	return c.read(ctx, TypeSignal, r, (*raised)(s))
}

// Requested reads a FetchRequested event as a KafkaSource delivers it.
func (c *Codec) Requested(ctx context.Context, e cloudevents.Event) (p FetchRequested, err error) {
	contract, err := ContractOf(TypeFetchRequested)
	if err != nil {
		return p, err
	}
	content, err := contentOf(e)
	if err != nil {
		return p, err
	}
	return p, c.decode(ctx, contract, content, e.Data(), &p)
}

// JSON reads a record of any of our types and returns its payload in the JSON
// form, which Accept takes.
func (c *Codec) JSON(ctx context.Context, r *kgo.Record) ([]byte, error) {
	contract, err := ContractOf(Header(r, "ce_type"))
	if err != nil {
		return nil, err
	}
	p := contract.blank()
	if err := c.read(ctx, contract.Type, r, p); err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

// Header returns a record's header, or "".
func Header(r *kgo.Record, key string) string { return string(header(r, key)) }

func header(r *kgo.Record, key string) []byte {
	for i := range r.Headers {
		if h := &r.Headers[i]; len(h.Key) == len(key) && (h.Key == key || strings.EqualFold(h.Key, key)) {
			return h.Value
		}
	}
	return nil
}

// Repeats reports whether a record has the mark MayRepeat.
func Repeats(r *kgo.Record) bool { return string(header(r, "ce_"+MayRepeat)) == "true" }

func (c *Codec) read(ctx context.Context, ceType string, r *kgo.Record, p payload) error {
	contract, err := ContractOf(ceType)
	if err != nil {
		return err
	}
	if t := header(r, "ce_type"); len(t) > 0 && string(t) != ceType {
		return Invalid("event type %q in a topic of %s", t, ceType)
	}
	media := ContentAvro
	if t := header(r, "content-type"); string(t) != ContentAvro {
		media = string(t)
	}
	return c.decode(ctx, contract, media, r.Value, p)
}

// decode fills p from a body and checks it. Its error wraps ErrInvalid when the
// body is at fault, ErrUnknownSchema when it or the registry may be, and neither
// when the registry could not be asked.
func (c *Codec) decode(ctx context.Context, contract Contract, contentType string, body []byte, p payload) error {
	if len(body) > maxPayload {
		return Invalid("payload of %d bytes, more than %d", len(body), maxPayload)
	}
	media := ContentAvro
	if contentType != "" && contentType != ContentAvro {
		var params map[string]string
		var err error
		if media, params, err = mime.ParseMediaType(contentType); err == nil {
			err = checkCharset(params)
		}
		if err != nil {
			return Invalid("content type %q: %w", contentType, err)
		}
	}
	var err error
	switch media {
	case ContentAvro:
		err = c.decodeAvro(ctx, contract, body, p)
	case ContentJSON:
		if body = bytes.TrimPrefix(body, []byte(byteOrderMark)); !utf8.Valid(body) {
			err = Invalid("decode %s: not UTF-8", contract.Type)
		} else if e := json.Unmarshal(body, p); e != nil {
			err = Invalid("decode %s: %w", contract.Type, e)
		}
	default:
		err = Invalid("content type %q: neither %s nor %s", contentType, ContentAvro, ContentJSON)
	}
	if err != nil {
		return err
	}
	if err := p.check(c.now()); err != nil {
		return Invalid("%s: %w", contract.Type, err)
	}
	return nil
}

func (c *Codec) decodeAvro(ctx context.Context, contract Contract, body []byte, p payload) (err error) {
	if len(body) < frame || body[0] != 0 {
		return Invalid("not in the Confluent frame: %d bytes", len(body))
	}
	runs, err := c.reading(ctx, contract, int(binary.BigEndian.Uint32(body[1:])))
	if err != nil {
		return err
	}
	defer func() { // a malformed body can make the decoder panic
		if r := recover(); r != nil {
			err = Invalid("decode %s: %v", contract.Type, r)
		}
	}()
	r := c.decoders.Get().(*avro.Reader).Reset(body[frame:])
	r.Error = nil
	parts := p.parts()
	for i := range runs {
		runs[i].read(r, parts)
	}
	defer c.decoders.Put(r) // but not after a panic
	if r.Error != nil && !errors.Is(r.Error, io.EOF) {
		return Invalid("decode %s: %w", contract.Type, r.Error)
	}
	if r.Error != nil {
		return Invalid("decode %s: truncated", contract.Type)
	}
	if r.Peek(); r.Error == nil {
		return Invalid("decode %s: bytes are left after the record", contract.Type)
	}
	return nil
}

// reading returns how to read what was written with a schema id. If the registry has
// no schema to read it with, the error wraps ErrInvalid if other records of the type
// were read with this registry, else ErrUnknownSchema.
func (c *Codec) reading(ctx context.Context, contract Contract, id int) ([]run, error) {
	key := writer{id, contract.Type}
	c.mu.RLock()
	runs, ok := c.writers[key]
	known, asked := c.missing[key]
	c.mu.RUnlock()
	if ok {
		return runs, nil
	}
	if !asked || !c.now().Before(known.until) {
		runs, err := c.resolve(ctx, contract, id)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.writers[key] = runs
			return runs, nil
		}
		var none *noSchema
		if !errors.As(err, &none) {
			return nil, err
		}
		known = missingSchema{none, c.now().Add(missingFor)}
		c.rememberMissing(key, known)
	}
	if known.reason.ours || c.hasRead(contract.Type) {
		return nil, Invalid("%w", known.reason)
	}
	return nil, fmt.Errorf("%w: %w; no %s has been read with this registry yet: it may not be the one that the record was written with, or have lost its schemas",
		ErrUnknownSchema, known.reason, contract.Type)
}

// noSchema: the registry has answered that it has no schema under an id to read
// records of a type with.
type noSchema struct {
	error
	ours bool // the schema is one of the type, but incompatible: the registry is the right one
}

func (n *noSchema) Unwrap() error { return n.error }

// resolve gets a schema from the registry. Its error is a *noSchema, or says why the
// registry could not be asked.
func (c *Codec) resolve(ctx context.Context, contract Contract, id int) ([]run, error) {
	text, err := c.registry.SchemaByID(ctx, id)
	if err != nil {
		var answer *sr.ResponseError
		if errors.As(err, &answer) && answer.ErrorCode == sr.ErrSchemaNotFound.Code {
			return nil, &noSchema{fmt.Errorf("schema id %d is unknown to the registry", id), false}
		}
		return nil, fmt.Errorf("get schema id %d from the registry: %w", id, err)
	}
	wrote, err := avro.ParseWithCache(text.Schema, "", &avro.SchemaCache{})
	if err != nil {
		return nil, &noSchema{fmt.Errorf("schema id %d: %w", id, err), false}
	}
	reads, err := avro.ParseWithCache(contract.Schema, "", &avro.SchemaCache{})
	if err != nil {
		return nil, fmt.Errorf("parse the schema of %s: %w", contract.Type, err)
	}
	if err := checkTimes(reads, wrote); err != nil {
		return nil, &noSchema{fmt.Errorf("schema id %d cannot be read as %s: %w", id, contract.Type, err), true}
	}
	resolved, err := avro.NewSchemaCompatibility().Resolve(reads, wrote)
	if err != nil {
		return nil, &noSchema{fmt.Errorf("schema id %d cannot be read as %s: %w", id, contract.Type, err), false}
	}
	runs, err := layout(resolved, wrote, contract.blank())
	if err != nil {
		return nil, &noSchema{fmt.Errorf("schema id %d cannot be read as %s: %w", id, contract.Type, err), false}
	}
	return runs, nil
}

func (c *Codec) rememberMissing(key writer, r missingSchema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.missing) >= maxMissing {
		clear(c.missing)
	}
	c.missing[key] = r
}

// hasRead reports whether records of a type were read with this registry.
func (c *Codec) hasRead(ceType string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for key := range c.writers {
		if key.ceType == ceType {
			return true
		}
	}
	return false
}

func payloadOf(v any) (p payload, c Contract, err error) {
	switch v := v.(type) {
	case *RepoObserved:
		p = (*observed)(v)
		c, err = ContractOf(TypeRepoObserved)
	case *RepoProcessed:
		p = v
		c, err = ContractOf(TypeRepoProcessed)
	case *OwnerSwept:
		p = v
		c, err = ContractOf(TypeOwnerSwept)
	case *GitHubEvent:
		p = (*happened)(v)
		c, err = ContractOf(TypeGitHubEvent)
	case *FeedRead:
		p = (*feedRead)(v)
		c, err = ContractOf(TypeFeedRead)
	case *Signal:
		p = (*raised)(v)
		c, err = ContractOf(TypeSignal)
	case *FetchRequested:
		p = v
		c, err = ContractOf(TypeFetchRequested)
	default:
		err = fmt.Errorf("unsupported type %T", v)
	}
	return p, c, err
}

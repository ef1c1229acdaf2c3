package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
)

// An apiError is an error as the interface words it: a status and a code of its own.
type apiError struct {
	status, code int
	message      string
}

func (e *apiError) Error() string { return e.message }

func isCode(err error, code int) bool {
	var e *apiError
	return errors.As(err, &e) && e.code == code
}

func fail(w http.ResponseWriter, err error) {
	e := &apiError{http.StatusInternalServerError, 50001, err.Error()}
	errors.As(err, &e)
	reply(w, e.status, map[string]any{"error_code": e.code, "message": e.message})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // an error is the client's: it has gone
}

// readSchema reads the body of a registration or a check.
func readSchema(q *http.Request) ([]byte, *avro.Schema, error) {
	invalid := func(message string) error {
		return &apiError{http.StatusUnprocessableEntity, sr.ErrInvalidSchema.Code, message}
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, nil, invalid(err.Error())
	}
	var in sr.Schema
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, nil, invalid(err.Error())
	}
	if in.Type != sr.TypeAvro || len(in.References) > 0 {
		return nil, nil, invalid("only Avro schemas without references are supported")
	}
	schema, err := avro.Parse(in.Schema)
	if err != nil {
		return nil, nil, invalid("invalid Avro schema: " + err.Error())
	}
	return body, schema, nil
}

// A recorder keeps an answer until it may be sent.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(status int)      { r.status = status }

func (r *recorder) send(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	w.Write(r.body.Bytes())
}

func escape(subject string) string { return url.PathEscape(subject) }

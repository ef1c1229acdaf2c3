// Package registry is a schema registry in process, with the HTTP interface of Confluent's: what a producer registers is checked, and stays.
//
// srfake, of the Kafka client's own project, keeps subjects and answers; this package puts around it what it lacks: compatibility.go refuses a schema that
// breaks a subject's level, journal.go keeps every change on disk before it is answered, and replays it at Open, so that ids never change. Limits: Avro
// only, no references; one process per directory; a soft-deleted subject takes no new version; the journal is never shortened (a change is a line).
package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

const maxBody = 1 << 20

// A Registry keeps schemas by subject. The level of a subject is BACKWARD unless it is set.
type Registry struct {
	mux     *http.ServeMux
	subject http.Handler // srfake: subjects, versions, ids, without checks

	mu      sync.Mutex // one request at a time: check, change and journal are one step
	journal *journal
	broken  error // the journal could not be written: what is in memory may not be on disk, so nobody may see it
}

// Open reads the registry that is kept in dir, or starts one there.
func Open(dir string) (*Registry, error) {
	r := &Registry{subject: srfake.NewRegistry(srfake.WithGlobalCompat(sr.CompatBackward)).Handler(), mux: http.NewServeMux()}
	var err error
	if r.journal, err = openJournal(dir, r.replay); err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	r.mux.HandleFunc("POST /subjects/{subject}/versions", r.register)
	r.mux.HandleFunc("POST /subjects/{subject}", r.read) // a look-up
	r.mux.HandleFunc("POST /compatibility/subjects/{subject}/versions", r.check)
	r.mux.HandleFunc("POST /compatibility/subjects/{subject}/versions/{version}", r.check)
	r.mux.HandleFunc("GET /", r.read)
	r.mux.HandleFunc("GET /subjects", r.list)
	r.mux.HandleFunc("PUT /", r.change)
	r.mux.HandleFunc("DELETE /", r.change)
	return r, nil
}

// Handler is the HTTP interface.
func (r *Registry) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxBody))
		if err != nil {
			fail(w, &apiError{http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge, err.Error()})
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.broken != nil {
			fail(w, r.broken)
			return
		}
		r.mux.ServeHTTP(w, q)
	})
}

// Close ends the journal; the handler answers errors after it.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil {
		r.broken = errors.New("the registry is closed")
	}
	return r.journal.close()
}

// register adds a schema to a subject. One that the subject has, in any version, keeps its id, unchecked.
func (r *Registry) register(w http.ResponseWriter, q *http.Request) {
	body, schema, err := readSchema(q)
	if err != nil {
		fail(w, err)
		return
	}
	subject := q.PathValue("subject")
	known := r.ask(http.MethodPost, "/subjects/"+escape(subject), body)
	if known.status == http.StatusOK {
		var found struct {
			ID int `json:"id"`
		}
		if err := json.Unmarshal(known.body.Bytes(), &found); err != nil {
			fail(w, fmt.Errorf("read a known schema: %w", err))
			return
		}
		reply(w, http.StatusOK, found)
		return
	}
	level, err := r.level(subject)
	if err != nil {
		fail(w, err)
		return
	}
	versions, err := r.versions(subject)
	if err != nil && !isCode(err, sr.ErrSubjectNotFound.Code) {
		fail(w, err)
		return
	}
	broken, err := r.compare(subject, level.against(versions), level, schema)
	if err != nil {
		fail(w, err)
		return
	}
	if len(broken) > 0 {
		fail(w, &apiError{http.StatusConflict, http.StatusConflict, "Schema being registered is incompatible with an earlier schema for subject \"" + subject + "\", details: " + strings.Join(broken, "; ")})
		return
	}
	r.apply(w, change{Method: http.MethodPost, Path: "/subjects/" + escape(subject) + "/versions", Body: string(body)})
}

// change is every other one: levels, modes, deletes.
func (r *Registry) change(w http.ResponseWriter, q *http.Request) {
	if strings.HasPrefix(q.URL.Path, "/contexts") {
		fail(w, &apiError{http.StatusNotImplemented, http.StatusNotImplemented, "contexts are not supported"})
		return
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		fail(w, err)
		return
	}
	r.apply(w, change{Method: q.Method, Path: q.URL.RequestURI(), Body: string(body)})
}

// apply makes a change and journals it before it answers.
func (r *Registry) apply(w http.ResponseWriter, c change) {
	done := r.ask(c.Method, c.Path, []byte(c.Body))
	if done.status == http.StatusOK {
		c.Answer = strings.TrimSpace(done.body.String())
		if err := r.journal.append(c); err != nil {
			r.broken = fmt.Errorf("the journal cannot be written, restart the registry: %w", err)
			fail(w, r.broken)
			return
		}
	}
	done.send(w)
}

// replay makes a journalled change again; the answer must be the same, for it holds the id.
func (r *Registry) replay(c change) error {
	done := r.ask(c.Method, c.Path, []byte(c.Body))
	if got := strings.TrimSpace(done.body.String()); done.status != http.StatusOK || got != c.Answer {
		return fmt.Errorf("%s %s answers %s, and was answered %s", c.Method, c.Path, got, c.Answer)
	}
	return nil
}

// read answers what changes nothing. srfake does not tell an unknown subject from an unknown version.
func (r *Registry) read(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		fail(w, err)
		return
	}
	done := r.ask(q.Method, q.URL.RequestURI(), body)
	path := strings.Split(strings.TrimPrefix(q.URL.EscapedPath(), "/"), "/")
	if done.status == http.StatusNotFound && len(path) >= 4 && path[0] == "subjects" && path[2] == "versions" {
		if all := r.ask(http.MethodGet, "/subjects/"+path[1]+"/versions?deleted=true", nil); all.status == http.StatusNotFound {
			done = all
		}
	}
	done.send(w)
}

// list returns the subjects. srfake also counts those that have only a level set and no version: they are left out.
func (r *Registry) list(w http.ResponseWriter, q *http.Request) {
	var all []string
	if err := r.get(q.URL.RequestURI(), &all); err != nil {
		fail(w, err)
		return
	}
	subjects := []string{}
	for _, subject := range all {
		var versions []int
		if err := r.get("/subjects/"+escape(subject)+"/versions?deleted=true", &versions); err == nil && len(versions) > 0 {
			subjects = append(subjects, subject)
		}
	}
	reply(w, http.StatusOK, subjects)
}

// ask hands a request to srfake.
func (r *Registry) ask(method, target string, body []byte) *recorder {
	done := &recorder{header: http.Header{}, status: http.StatusOK}
	q, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		fail(done, fmt.Errorf("read the request: %w", err))
		return done
	}
	r.subject.ServeHTTP(done, q)
	return done
}

// get reads an answer of srfake.
func (r *Registry) get(target string, into any) error {
	done := r.ask(http.MethodGet, target, nil)
	if done.status != http.StatusOK {
		var e struct {
			Code    int    `json:"error_code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(done.body.Bytes(), &e); err != nil {
			return fmt.Errorf("read %s: %w", target, err)
		}
		return &apiError{done.status, e.Code, e.Message}
	}
	return json.Unmarshal(done.body.Bytes(), into)
}

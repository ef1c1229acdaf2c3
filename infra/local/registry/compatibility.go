package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
)

// A level says which schemas must read which data: with BACKWARD the new one reads what the old one wrote, with FORWARD the other way round, with FULL both;
// _TRANSITIVE means all versions and not just the newest.
type level string

func (l level) backward() bool {
	return strings.HasPrefix(string(l), "BACKWARD") || strings.HasPrefix(string(l), "FULL")
}

func (l level) forward() bool {
	return strings.HasPrefix(string(l), "FORWARD") || strings.HasPrefix(string(l), "FULL")
}

// against picks out of the versions of a subject those that a new schema is compared with.
func (l level) against(versions []int) []int {
	if len(versions) == 0 || strings.HasSuffix(string(l), "_TRANSITIVE") {
		return versions
	}
	return versions[len(versions)-1:]
}

// level is the one of the subject, else of the registry.
func (r *Registry) level(subject string) (level, error) {
	var answer struct {
		Level level `json:"compatibilityLevel"`
	}
	if err := r.get("/config/"+escape(subject), &answer); err != nil {
		return "", fmt.Errorf("level of %s: %w", subject, err)
	}
	return answer.Level, nil
}

// versions of a subject, in order. A subject without one is unknown.
func (r *Registry) versions(subject string) ([]int, error) {
	var versions []int
	if err := r.get("/subjects/"+escape(subject)+"/versions", &versions); err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, &apiError{http.StatusNotFound, sr.ErrSubjectNotFound.Code, fmt.Sprintf("Subject '%s' not found.", subject)}
	}
	slices.Sort(versions)
	return versions, nil
}

// compare says what the schema breaks in those versions of the subject.
func (r *Registry) compare(subject string, versions []int, l level, schema *avro.Schema) ([]string, error) {
	broken := []string{}
	for _, version := range versions {
		var kept sr.SubjectSchema
		if err := r.get(fmt.Sprintf("/subjects/%s/versions/%d", escape(subject), version), &kept); err != nil {
			return nil, err
		}
		old, err := avro.Parse(kept.Schema.Schema)
		if err != nil {
			return nil, fmt.Errorf("version %d of %s: %w", version, subject, err)
		}
		if l.backward() {
			if err := avro.CheckCompatibility(old, schema); err != nil {
				broken = append(broken, fmt.Sprintf("it cannot read the data of version %d: %v", version, err))
			}
		}
		if l.forward() {
			if err := avro.CheckCompatibility(schema, old); err != nil {
				broken = append(broken, fmt.Sprintf("version %d cannot read its data: %v", version, err))
			}
		}
	}
	return broken, nil
}

// check answers whether a schema could be registered: against one version if the path names it, else as its registration would be.
func (r *Registry) check(w http.ResponseWriter, q *http.Request) {
	_, schema, err := readSchema(q)
	if err != nil {
		fail(w, err)
		return
	}
	subject := q.PathValue("subject")
	broken, err := r.checkVersion(subject, q.PathValue("version"), schema)
	if err != nil {
		fail(w, err)
		return
	}
	answer := map[string]any{"is_compatible": len(broken) == 0}
	if q.URL.Query().Get("verbose") == "true" {
		answer["messages"] = broken
	}
	reply(w, http.StatusOK, answer)
}

func (r *Registry) checkVersion(subject, version string, schema *avro.Schema) ([]string, error) {
	versions, err := r.versions(subject)
	if err != nil {
		return nil, err
	}
	l, err := r.level(subject)
	if err != nil {
		return nil, err
	}
	switch version {
	case "":
		versions = l.against(versions)
	case "latest", "-1":
		versions = versions[len(versions)-1:]
	default:
		n, err := strconv.Atoi(version)
		if err != nil || n < 1 {
			return nil, &apiError{http.StatusUnprocessableEntity, sr.ErrInvalidVersion.Code, fmt.Sprintf("The specified version '%s' is not a valid version id.", version)}
		}
		if !slices.Contains(versions, n) {
			return nil, &apiError{http.StatusNotFound, sr.ErrVersionNotFound.Code, fmt.Sprintf("Version %d not found.", n)}
		}
		versions = []int{n}
	}
	return r.compare(subject, versions, l, schema)
}

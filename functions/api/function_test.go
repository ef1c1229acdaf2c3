package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFunctionWithoutAReaderIsReadyAndSaysWhy(t *testing.T) {
	f, err := open(t.Context(), map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if s := f.Status(); !strings.Contains(s.Failing, "CLICKHOUSE_READER_URL") {
		t.Errorf("status %+v", s)
	}
	answer := httptest.NewRecorder()
	f.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/v1/repositories", nil))
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "CLICKHOUSE_READER_URL is not set") {
		t.Errorf("answered %d %s", answer.Code, answer.Body)
	}
}

package sweep_test

import (
	"testing"

	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

// TestMain is the function's process where a test has started one.
func TestMain(m *testing.M) { servetest.Main(m, fetchorg.New) }

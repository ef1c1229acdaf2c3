package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
)

// TestMain is the function's process where a test has started one.
func TestMain(m *testing.M) {
	if os.Getenv(sweep.AloneKey) == "" {
		os.Exit(m.Run())
	}
	if err := alone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func alone() error {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	instance := fetchorg.New()
	if err := instance.Start(context.Background(), env); err != nil {
		return err
	}
	server := httptest.NewServer(http.HandlerFunc(instance.Handle))
	defer server.Close()
	fmt.Println(server.URL)
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, instance.Stop(context.Background()))
}

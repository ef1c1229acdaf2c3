package kafka_test

import (
	"flag"
	"testing"
)

// TestMain runs 16 tests at once unless -parallel says otherwise, whatever the number
// of processors: they wait for most of their time.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

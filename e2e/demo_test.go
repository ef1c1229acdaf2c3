package e2e

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
)

func TestDemoFillsEverythingOnceAndSaysThatItIsSimulated(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t, "GITHUB_TOKEN=ignored")
	if out := p.run("up", "--demo", "--detach"); !strings.Contains(out, "Audit clean") || !strings.Contains(out, "SIMULATED") {
		t.Errorf("up:\n%s", out)
	}
	var was audit
	p.json(&was, "audit", "--wait")
	if !was.Clean || was.Observations < 4_000 || was.Events.Kafka < 10_000 || was.Signals.Kafka < 50 {
		t.Errorf("%+v", was)
	}
	answer, err := http.Get(p.address("API_URL") + "/api/v1/overview?window=7d&days=60&limit=50")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var overview struct {
		Simulated, Complete bool
		Data                struct {
			Groups []struct {
				Name   string
				Before *float64 `json:"stars_per_day_before"`
			}
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&overview); err != nil {
		t.Fatal(err)
	}
	if !overview.Simulated || !overview.Complete || answer.Header.Get("M7pulse-Simulated") != "true" || len(overview.Data.Groups) != 7 {
		t.Errorf("%+v, %v", overview, answer.Header)
	}
	for _, g := range overview.Data.Groups {
		if g.Before == nil {
			t.Errorf("%s: the rate over the week before is unknown", g.Name)
		}
	}
	for _, embed := range []string{"badge.svg", "badge.json", "card.svg"} {
		answer, err := http.Get(p.address("API_URL") + "/api/v1/companies/meta/" + embed)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !strings.Contains(string(text), "simulated") {
			t.Errorf("%s does not say that it is simulated: %v\n%s", embed, err, text)
		}
	}
	// Of the last day there are readings of every hour, of the others one.
	var trends []struct {
		Group string
		Days  []*float64
	}
	p.json(&trends, "trends", "--days", "3")
	for _, g := range trends {
		if n := len(g.Days); n != 3 || g.Days[n-1] == nil || g.Days[0] == nil || math.Abs(*g.Days[n-1]) > 10*math.Abs(*g.Days[0])+10 {
			t.Errorf("%s: stars a day on the last days: %v", g.Group, g.Days)
		}
	}
	if out := p.run("tour", "--all"); !strings.Contains(out, "11 of 11") || !strings.Contains(out, "Audit clean") {
		t.Errorf("tour:\n%s", out)
	}
	if out := p.run("top"); !strings.Contains(out, "ALL OF IT IS SIMULATED") {
		t.Errorf("top:\n%s", out)
	}
	p.run("down")
	if out, err := p.try("up", "--detach"); err == nil || !strings.Contains(out, "simulated") {
		t.Errorf("the recording in the demo's home: %v\n%s", err, out)
	}
	p.run("up", "--demo", "--detach")
	var is audit
	p.json(&is, "audit", "--wait")
	if !is.Clean || is.Observations != was.Observations || is.Events.Kafka != was.Events.Kafka {
		t.Errorf("after a second start %+v, before %+v", is, was)
	}
}

package forecast_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/m7pulse/m7pulse/forecast"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	emulator "github.com/m7pulse/m7pulse/infra/local/github"
)

func TestAForecastAddsOwnersToThoseThatAreListed(t *testing.T) {
	world := emulator.Generate(emulator.Plan{Seed: 1, Start: time.Now(), Owners: []emulator.OwnerPlan{{Login: "acme", Repos: 40}, {Login: "initech", Repos: 7}, {Login: "jane", User: true, Repos: 3}}})
	github, err := emulator.New(world, "token")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(github)
	defer server.Close()
	env := map[string]string{"REDIS_URL": "redis://" + miniredis.RunT(t).Addr(), "GITHUB_GRAPHQL_URL": server.URL, "GITHUB_TOKEN": "token"}
	list, err := sweep.OpenOwners(env["REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	for _, login := range []string{"acme", "initech", "ghost"} { // GitHub knows no ghost
		if err := list.Add(t.Context(), sweep.Owner{Login: login}); err != nil {
			t.Fatal(err)
		}
	}

	v, err := forecast.Of(t.Context(), env, list, []sweep.Owner{{Login: "jane"}, {Login: "initech"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Owners) != 2 || v.Owners[0].Repos != 3 || v.Owners[1].Repos != 7 || v.Listed.Repos != 40 || len(v.Unknown) != 1 {
		t.Errorf("%+v: want 3 and 7 repositories asked about, 40 of the others that are listed, and one owner unknown", v)
	}
	points, seconds := v.Sum()
	if want := v.Owners[0].Points + v.Owners[1].Points + v.Listed.Points; points != want || seconds <= 0 || !v.Enough || v.Capacity.Tokens != 1 {
		t.Errorf("%d points, %v seconds of %+v, enough %v; want %d points", points, seconds, v.Capacity, v.Enough, want)
	}
	if v, err := forecast.Of(t.Context(), env, list, []sweep.Owner{{Login: "nobody"}}); err == nil {
		t.Errorf("an owner that does not exist costs %+v", v)
	}
	if v, err := forecast.Of(t.Context(), env, list, nil); err == nil {
		t.Errorf("with an owner on the list that does not exist: %+v", v)
	}
}

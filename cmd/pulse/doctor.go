package main

import (
	"context"
	"fmt"
	"maps"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/doctor"
	"github.com/m7pulse/m7pulse/infra/knative"
)

type doctorCommand struct {
	JSON bool `help:"Print JSON."`
}

// Run looks at everything that the stack needs, and fails if something is wrong.
func (d *doctorCommand) Run(ctx context.Context, p *place) error {
	quiet()
	of, err := p.installation()
	if err != nil {
		return err
	}
	found := doctor.Examine(ctx, of)
	if d.JSON {
		err = printJSON(found)
	} else {
		printFindings(found)
	}
	if err == nil && doctor.Worst(found) == doctor.Wrong {
		err = exitStatus(1)
	}
	return err
}

// installation is the stack that is up, with what the process's own environment says besides; or, where that names Kafka and the registry, that one.
func (p *place) installation() (doctor.Installation, error) {
	of := doctor.Installation{Env: map[string]string{}}
	if p.env["KAFKA_BROKERS"] == "" || p.env["SCHEMA_REGISTRY_URL"] == "" {
		env, err := p.home.ReadEnv()
		if err != nil {
			return of, err
		}
		of.Env, of.Home = env, string(p.home)
	}
	maps.Copy(of.Env, p.env)
	topics, err := knative.ReadTopics()
	if err != nil {
		return of, err
	}
	of.Topics = topics
	return of, nil
}

func printFindings(found []doctor.Finding) {
	t := newTable("", "Looked at", "Seen", "What to do")
	marks := map[doctor.Verdict]string{doctor.OK: "ok", doctor.Warning: "warning", doctor.Wrong: "WRONG"}
	counts := map[doctor.Verdict]int{}
	for _, f := range found {
		counts[f.Verdict]++
		t.AppendRow(table.Row{marks[f.Verdict], f.Subject, oneLine(f.Seen), f.Cure})
	}
	t.Render()
	fmt.Printf("\n%d wrong, %d warnings, %d ok\n", counts[doctor.Wrong], counts[doctor.Warning], counts[doctor.OK])
}

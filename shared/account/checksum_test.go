package account_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// full is a row with every field known, each with a value of its own.
func full() *event.RepoProcessed {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	p := &event.RepoProcessed{ProcessedAt: at.Add(time.Hour), Revision: 3, Late: true}
	o := reflect.ValueOf(&p.Observation).Elem()
	for i := range o.NumField() {
		text, number, moment := fmt.Sprint("text ", i), int64(100+i), at.AddDate(0, 0, -i)
		switch f := o.Field(i); f.Interface().(type) {
		case string:
			f.SetString(text)
		case int64:
			f.SetInt(number)
		case bool:
			f.SetBool(true)
		case time.Time:
			f.Set(reflect.ValueOf(moment))
		case *string:
			f.Set(reflect.ValueOf(&text))
		case *int64:
			f.Set(reflect.ValueOf(&number))
		case *time.Time:
			f.Set(reflect.ValueOf(&moment))
		case []string:
			f.Set(reflect.ValueOf([]string{"a", "b"}))
		case []repo.Language:
			f.Set(reflect.ValueOf([]repo.Language{{Name: "Go", Bytes: 1}, {Name: "C", Bytes: 2}}))
		}
	}
	for i, d := range velocity.Definitions() {
		switch f := velocity.Field(i); d.Kind {
		case field.Float:
			p.SetFloat(f, float64(f)+0.5)
		case field.Bool:
			p.SetBool(f, true)
		default:
			p.SetInt(f, int64(f))
		}
	}
	return p
}

// TestEveryFieldIsInAChecksum: whatever is changed, or is null, one of them is
// another.
func TestEveryFieldIsInAChecksum(t *testing.T) {
	summer := account.NewSummer()
	want := summer.Processed(full())
	differs := func(what string, change func(p *event.RepoProcessed)) {
		t.Helper()
		p := full()
		change(p)
		if summer.Processed(p) == want {
			t.Errorf("%s is in no checksum", what)
		}
	}
	fields := reflect.TypeFor[event.RepoObserved]()
	for i := range fields.NumField() {
		differs(fields.Field(i).Name+" is zero or null", func(p *event.RepoProcessed) {
			reflect.ValueOf(&p.Observation).Elem().Field(i).SetZero()
		})
	}
	differs("an entry of a list", func(p *event.RepoProcessed) { p.Languages[1].Bytes++ })
	differs("the time of processing", func(p *event.RepoProcessed) { p.ProcessedAt = p.ProcessedAt.Add(time.Millisecond) })
	differs("the revision", func(p *event.RepoProcessed) { p.Revision++ })
	differs("whether it is late", func(p *event.RepoProcessed) { p.Late = false })
	for i, d := range velocity.Definitions() {
		f := velocity.Field(i)
		differs(d.Name+" is null", func(p *event.RepoProcessed) {
			before := p.Velocities
			p.Velocities = velocity.Velocities{}
			for j, d := range velocity.Definitions() {
				other := velocity.Field(j)
				switch {
				case other == f:
				case d.Kind == field.Float:
					p.SetFloat(other, *before.Float(other))
				case d.Kind == field.Bool:
					p.SetBool(other, *before.Bool(other))
				default:
					p.SetInt(other, *before.Int(other))
				}
			}
		})
		differs(d.Name, func(p *event.RepoProcessed) {
			switch d.Kind {
			case field.Float:
				p.SetFloat(f, *p.Float(f)+1e-9)
			case field.Bool:
				p.SetBool(f, false)
			default:
				p.SetInt(f, -1)
			}
		})
	}
}

// TestColumnsOfTheChecksumsAreAllThatIsStored: by their names in the schema.
func TestColumnsOfTheChecksumsAreAllThatIsStored(t *testing.T) {
	var want, got []string
	for _, of := range []reflect.Type{reflect.TypeFor[event.RepoObserved](), reflect.TypeFor[event.RepoProcessed]()} {
		for i := range of.NumField() {
			if name, ok := of.Field(i).Tag.Lookup("avro"); ok {
				want = append(want, name)
			}
		}
	}
	for _, d := range velocity.Definitions() {
		want = append(want, d.Name)
	}
	for _, c := range slices.Concat(account.ObservedColumns(), account.DetailColumns(), account.VelocityColumns()) {
		got = append(got, c.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("the checksums cover %v, want %v", got, want)
	}
}

func TestRowsThatReadAlikeHaveChecksumsOfTheirOwn(t *testing.T) {
	summer := account.NewSummer()
	null, dash, bar := (*string)(nil), "-", "|"
	seen := map[account.Sums][2]string{}
	for _, company := range []*string{null, &dash, &bar, new(string)} {
		for _, language := range []*string{null, &dash, &bar, new(string)} {
			o := event.RepoObserved{ID: 1, Company: company, PrimaryLanguage: language}
			sums, names := summer.Observed(&o), [2]string{name(company), name(language)}
			if other, twice := seen[sums]; twice {
				t.Errorf("%v and %v have one checksum", names, other)
			}
			seen[sums] = names
		}
	}
	a := summer.Observed(&event.RepoObserved{Topics: []string{"a", "b"}})
	for _, topics := range [][]string{{"ab"}, {"a", "b", ""}, {"", "a", "b"}, {"b", "a"}} {
		if b := summer.Observed(&event.RepoObserved{Topics: topics}); a == b {
			t.Errorf("the topics %q have the checksum of a and b", topics)
		}
	}
}

func name(s *string) string {
	if s == nil {
		return "null"
	}
	return fmt.Sprintf("%q", *s)
}

func BenchmarkSums(b *testing.B) {
	p, summer := full(), account.NewSummer()
	for b.Loop() {
		summer.Processed(p)
	}
}

// Command standin stands in for a provider of OpenTofu where the real one cannot
// be had: it serves the schema that lies beside it, and nothing else. So names and
// types of what is written are checked, and `tofu test` can mock it; it plans and
// applies nothing, and says nothing about what a cloud would do.
//
//	standin schema ARCHIVE PROVIDER TYPE…   writes such a schema, made of a package of the Terraform CDK
//	standin                                 is the provider that OpenTofu starts
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 2 && args[0] == "schema" {
		s, err := read(args[1], args[2], args[3:])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(self), "schema.json"))
	if err != nil {
		return err
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read schema.json: %w", err)
	}
	p, err := serve(s)
	if err != nil {
		return err
	}
	return tf6server.Serve("standin", func() tfprotov6.ProviderServer { return p })
}

// provider answers what is asked before a plan. Anything else would be asked only
// of a provider that is not mocked, and panics for want of a method.
type provider struct {
	tfprotov6.ProviderServer
	schemas *tfprotov6.GetProviderSchemaResponse
}

func serve(s schema) (*provider, error) {
	r := &tfprotov6.GetProviderSchemaResponse{ResourceSchemas: map[string]*tfprotov6.Schema{}, DataSourceSchemas: map[string]*tfprotov6.Schema{}}
	var err error
	if r.Provider, err = served(s.Provider); err != nil {
		return nil, err
	}
	for name, b := range s.Resources {
		if r.ResourceSchemas[name], err = served(b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, b := range s.Data {
		if r.DataSourceSchemas[name], err = served(b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &provider{schemas: r}, nil
}

func served(b block) (*tfprotov6.Schema, error) {
	s, err := servedBlock(b)
	return &tfprotov6.Schema{Block: s}, err
}

func servedBlock(b block) (*tfprotov6.SchemaBlock, error) {
	attributes, err := servedAttributes(b.Attributes)
	if err != nil {
		return nil, err
	}
	s := &tfprotov6.SchemaBlock{Attributes: attributes}
	for name, n := range b.Blocks {
		inner, err := servedBlock(n.Block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t := &tfprotov6.SchemaNestedBlock{TypeName: name, Block: inner, Nesting: tfprotov6.SchemaNestedBlockNestingModeSingle}
		switch n.Mode {
		case "list":
			t.Nesting = tfprotov6.SchemaNestedBlockNestingModeList
		case "set":
			t.Nesting = tfprotov6.SchemaNestedBlockNestingModeSet
		}
		if n.Required && n.Mode != "single" {
			t.MinItems = 1
		}
		s.BlockTypes = append(s.BlockTypes, t)
	}
	return s, nil
}

func servedAttributes(all map[string]attribute) (served []*tfprotov6.SchemaAttribute, err error) {
	for name, a := range all {
		s := &tfprotov6.SchemaAttribute{Name: name, Required: a.Required, Optional: a.Optional, Computed: a.Computed}
		if a.Mode != "" {
			s.NestedType = &tfprotov6.SchemaObject{Nesting: map[string]tfprotov6.SchemaObjectNestingMode{
				"single": tfprotov6.SchemaObjectNestingModeSingle, "list": tfprotov6.SchemaObjectNestingModeList,
				"set": tfprotov6.SchemaObjectNestingModeSet, "map": tfprotov6.SchemaObjectNestingModeMap,
			}[a.Mode]}
			if s.NestedType.Attributes, err = servedAttributes(a.Object.Attributes); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		} else {
			text, err := json.Marshal(a.Type)
			if err != nil {
				return nil, err
			}
			//lint:ignore SA1019 there is no other reader of a type's JSON
			if s.Type, err = tftypes.ParseJSONType(text); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		served = append(served, s)
	}
	return served, nil
}

func (p *provider) GetMetadata(context.Context, *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	return &tfprotov6.GetMetadataResponse{ServerCapabilities: &tfprotov6.ServerCapabilities{GetProviderSchemaOptional: true}}, nil
}

func (p *provider) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return p.schemas, nil
}

func (p *provider) ValidateProviderConfig(_ context.Context, q *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: q.Config}, nil
}

func (p *provider) ValidateResourceConfig(context.Context, *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return &tfprotov6.ValidateResourceConfigResponse{}, nil
}

func (p *provider) ValidateDataResourceConfig(context.Context, *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return &tfprotov6.ValidateDataResourceConfigResponse{}, nil
}

func (p *provider) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return &tfprotov6.StopProviderResponse{}, nil
}

// UpgradeResourceState gives a state back as it is: a mocked run after the first
// reads what the one before has written.
func (p *provider) UpgradeResourceState(_ context.Context, q *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	of := p.schemas.ResourceSchemas[q.TypeName].ValueType()
	state, err := q.RawState.Unmarshal(of)
	if err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", q.TypeName, err)
	}
	value, err := tfprotov6.NewDynamicValue(of, state)
	if err != nil {
		return nil, fmt.Errorf("write the state of %s: %w", q.TypeName, err)
	}
	return &tfprotov6.UpgradeResourceStateResponse{UpgradedState: &value}, nil
}

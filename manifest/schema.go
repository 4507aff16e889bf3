package manifest

import (
	"bytes"
	_ "embed" // the schema and the template
	"regexp"
	"slices"
	"strings"
)

// The schema is generated from the types and their comments by the package's tests: go test ./manifest -update.
//
//go:embed workload.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the workload file.
func Schema() []byte { return slices.Clone(schema) }

//go:embed template.yaml
var template []byte

// Template returns a commented workload file to begin with, for a workload called name. Characters that a name may not
// have become hyphens.
func Template(name string) []byte {
	name = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-")
	name = strings.Trim(name[:min(len(name), 63)], "-")
	if name == "" {
		name = "workload"
	}
	return bytes.ReplaceAll(template, []byte("WORKLOAD"), []byte(name))
}

// Package manifest reads the workload file: one YAML file that says what a workload is and what it promises.
//
// The Go types are the format. A field's yaml tag is its key, its check tag says what values are possible and what it is
// when left out, and its comment is what the JSON Schema says about it; decoder, schema and defaults all read the same
// tags, so that they cannot disagree. What one tag cannot say (a reference to a model, a sum of weights) is checked in
// check.go.
//
// Reading goes in four steps, and each reports all of its errors, not the first:
//
//  1. The source is measured before it is parsed: its size, its nesting, and the parts of YAML that a workload file does
//     not have (anchors, aliases, tags, merge keys, several documents). A bomb is refused before it can expand.
//  2. It is parsed to nodes with positions.
//  3. The nodes are decoded onto the types: unknown and duplicate keys, wrong types, impossible values, missing keys.
//  4. References and what spans several keys are checked.
//
// Every error is an [*Error] with file, line and column, and a hint where one can be given.
package manifest

package registry

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stoaproject/stoa"
)

// The limits of the wire, in characters; they are upstream's.
const (
	maxTagKey      = 250
	maxTagValue    = 100_000
	maxAlias       = 255
	maxModelName   = 256
	maxDescription = 5000
	maxSource      = 500
)

// promptTag marks a registered model, and a version, as a prompt.
const promptTag = "mlflow.prompt.is_prompt"

var (
	tagKeyForm   = regexp.MustCompile(`^[/\pL\pN_.\- :]*$`)
	aliasForm    = regexp.MustCompile(`^[\pL\pN_\-]*$`)
	versionAlias = regexp.MustCompile(`^[vV]\p{Nd}+$`)
)

// required refuses a request that lacks a parameter, with upstream's words. Names and values come in pairs.
func required(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return invalid("Missing value for required parameter '" + pairs[i] +
				"'. See the API docs for more information about request parameters.")
		}
	}
	return nil
}

// badValue is upstream's refusal of a value.
func badValue(parameter string, value any, why string) error {
	shown, err := json.Marshal(value)
	if err != nil {
		shown = []byte("given")
	}
	return invalid(fmt.Sprintf("Invalid value %s for parameter '%s' supplied: %s", shown, parameter, why))
}

func tooLong(parameter, value string, limit int) error {
	if utf8.RuneCountInString(value) <= limit {
		return nil
	}
	return invalid(fmt.Sprintf("'%s' exceeds the maximum length of %d characters", parameter, limit))
}

// resolves reports whether a name, taken for a path, would be another, as upstream sees it; then it says so.
func resolves(name string) (why string, bad bool) {
	clean := path.Clean(name)
	if clean == name && clean != "." && !strings.HasPrefix(clean, "..") && !strings.HasPrefix(clean, "/") {
		return "", false
	}
	return "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. " +
		"This name would resolve to '" + clean + "'", true
}

// checkModelName refuses what cannot name a model on the wire.
func checkModelName(parameter, name string) error {
	if strings.TrimSpace(name) == "" {
		return invalid("Missing value for required parameter '" + parameter + "'.")
	}
	if strings.ContainsAny(name, "/:") {
		return invalid("Invalid model name '" + name + "'. Names cannot contain '/' or ':'.")
	}
	if why, bad := resolves(name); bad {
		return badValue("name", name, why)
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, isControl) {
		return badValue("name", name, "Names cannot contain control characters.")
	}
	return tooLong("name", name, maxModelName)
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// checkTagKey refuses what cannot be the key of a tag.
func checkTagKey(key string) error {
	if !tagKeyForm.MatchString(key) {
		return badValue("key", key, "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), "+
			"spaces ( ), colon(:) and slashes (/).")
	}
	if why, bad := resolves(key); bad {
		return badValue("key", key, why)
	}
	return nil
}

// checkTag refuses a tag beyond the limits.
func checkTag(tag Tag) error {
	if err := checkTagKey(tag.Key); err != nil {
		return err
	}
	if err := tooLong("key", tag.Key, maxTagKey); err != nil {
		return err
	}
	return tooLong("value", tag.Value, maxTagValue)
}

// tagMap checks tags and gives them by key; of two with one key the later counts.
func tagMap(tags []Tag) (map[string]string, error) {
	m := make(map[string]string, len(tags))
	for _, tag := range tags {
		if err := checkTag(tag); err != nil {
			return nil, err
		}
		m[tag.Key] = tag.Value
	}
	return m, nil
}

// checkAliasName refuses what cannot name an alias on the wire. Beyond upstream it refuses a plain number, which names
// a version in every reference of Stoa's own.
func checkAliasName(alias string) error {
	if !aliasForm.MatchString(alias) {
		return invalid("Invalid alias name: '" + alias +
			"'. Names may only contain alphanumerics, underscores (_), and dashes (-).")
	}
	return tooLong("Registered model alias name", alias, maxAlias)
}

// checkAliasReserved refuses to set an alias that means something else.
func checkAliasReserved(alias string) error {
	if strings.EqualFold(alias, aliasLatest) {
		return invalid("'latest' alias name (case insensitive) is reserved.")
	}
	if versionAlias.MatchString(alias) {
		return invalid("Version alias name '" + alias + "' is reserved.")
	}
	if _, err := strconv.ParseUint(alias, 10, 64); err == nil {
		return invalid("Version alias name '" + alias + "' is reserved.")
	}
	return nil
}

// aliasLatest is the alias that every model has: its newest version.
const aliasLatest = "latest"

// parseNumber reads the number of a version.
func parseNumber(text string) (int, error) {
	number, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, invalid("Parameter 'version' must be an integer, got '" + text + "'.")
	}
	return number, nil
}

// noModel says on the wire that a model does not exist.
func noModel(name string) error {
	return &stoa.Refusal{
		Reason: stoa.ReasonUnknownModel, Message: "Registered Model with name=" + name + " not found",
	}
}

// noModelVersion says on the wire that a version does not exist.
func noModelVersion(name string, number int) error {
	return &stoa.Refusal{
		Reason:  stoa.ReasonUnknownVersion,
		Message: fmt.Sprintf("Model Version (name=%s, version=%d) not found", name, number),
	}
}

// modelNamed finds a model for the wire.
func (s *snapshot) modelNamed(name string) (*model, error) {
	if err := checkModelName("name", name); err != nil {
		return nil, err
	}
	if m, found := s.models[name]; found {
		return m, nil
	}
	return nil, noModel(name)
}

// versionNamed finds a version for the wire.
func (s *snapshot) versionNamed(name, number string) (*model, version, error) {
	if err := checkModelName("name", name); err != nil {
		return nil, version{}, err
	}
	n, err := parseNumber(number)
	if err != nil {
		return nil, version{}, err
	}
	if m, found := s.models[name]; found {
		if v, found := m.at(n); found {
			return m, v, nil
		}
	}
	return nil, version{}, noModelVersion(name, n)
}

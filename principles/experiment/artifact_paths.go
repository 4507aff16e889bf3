package experiment

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
)

// maxArtifactPath is the longest path of an artifact, in bytes.
const maxArtifactPath = 2048

// artifactPath gives the normal form of the path of an artifact, relative to the root: parts between single slashes.
// What leaves the root, now or after another round of URL decoding, is refused; the root itself is "".
func artifactPath(given string) (string, error) {
	if len(given) > maxArtifactPath {
		return "", invalid("Invalid path: %.200q is longer than %d bytes", given, maxArtifactPath)
	}
	for _, text := range decodings(given) {
		if !local(text) {
			return "", invalid("Invalid path: %.200q", given)
		}
	}
	normal := path.Clean(given)
	if normal == "." {
		normal = ""
	}
	return normal, nil
}

// decodings is a text as it is and after each further round of URL decoding, as far as there are any.
func decodings(text string) []string {
	all := []string{text}
	for range 10 {
		decoded, err := url.PathUnescape(text)
		if err != nil || decoded == text {
			break
		}
		text = decoded
		all = append(all, text)
	}
	return all
}

// leaves reports whether a location goes up with "..", now or after URL decoding.
func leaves(location string) bool {
	return slices.ContainsFunc(decodings(location), func(text string) bool {
		return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return r == '/' || r == '\\' }), "..")
	})
}

// local reports whether a path stays beneath its root on every system, and has nothing that a URL or a C string reads
// otherwise.
func local(name string) bool {
	if strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\x00\\") || strings.Contains(name, "://") {
		return false
	}
	if len(name) > 1 && name[1] == ':' {
		return false
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return false
		}
	}
	return true
}

// splitArtifact gives the directory and the name of a path in normal form.
func splitArtifact(name string) (parent, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// rootOf gives the path of artifacts that a location of our own names, and false for one that is elsewhere.
func rootOf(location string) (string, bool) {
	rest, ours := strings.CutPrefix(location, artifactRoot)
	if !ours || strings.HasPrefix(rest, "/") {
		return "", false
	}
	root, err := artifactPath(rest)
	return root, err == nil
}

// elsewhere is the refusal to list artifacts that the server does not keep.
func elsewhere(location string) error {
	return &stoa.Refusal{
		Reason:  stoa.ReasonInvalid,
		Message: "The artifacts are at '" + location + "', which this server does not open.",
		Hint:    "read them with a client that can, or keep the artifacts of new experiments here: give no artifact_location",
	}
}

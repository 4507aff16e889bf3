package experiment

import (
	"encoding/base64"
	"encoding/json"
)

// encodeToken makes a page token of the last position of a page. Tokens mean nothing to clients.
func encodeToken(position any) string {
	text, err := json.Marshal(position)
	if err != nil {
		// Positions are structs of numbers and strings.
		panic(err)
	}
	return base64.URLEncoding.EncodeToString(text)
}

// decodeToken reads a page token.
func decodeToken(token string, position any) error {
	text, err := base64.URLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(text, position)
	}
	if err != nil {
		return invalid("Invalid page token, could not base64-decode")
	}
	return nil
}

package webhook

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/stoaproject/stoa"
)

const (
	maxURL         = 2000
	maxDescription = 1000
	maxSecret      = 1000
	maxPage        = 1000
	usualPage      = 100
)

// The states of a webhook, as on the wire.
const (
	statusActive   = "ACTIVE"
	statusDisabled = "DISABLED"
)

// nameForm is upstream's.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// An Event is what a webhook is told of, in the wire's names.
type Event struct {
	Entity string `json:"entity"` // e.g. MODEL_VERSION
	Action string `json:"action"` // e.g. CREATED
}

// A Webhook is a webhook as the wire shows it, without its secret. Times are milliseconds since 1970.
type Webhook struct {
	ID          string  `json:"webhook_id"`
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	URL         string  `json:"url"`
	Events      []Event `json:"events"`
	Status      string  `json:"status"`
	Created     int64   `json:"creation_timestamp"`
	Updated     int64   `json:"last_updated_timestamp"`
}

// A CreateRequest is the body of POST webhooks.
type CreateRequest struct {
	Name        string  `json:"name"`
	Description string  `json:"description"`
	URL         string  `json:"url"`
	Events      []Event `json:"events"`
	Secret      string  `json:"secret"`
	Status      string  `json:"status"` // ACTIVE when empty
}

// A ListRequest is the query of GET webhooks.
type ListRequest struct {
	MaxResults *int64 `json:"max_results"`
	PageToken  string `json:"page_token"`
}

// An IDRequest is the path of GET and DELETE webhooks/{webhook_id}.
type IDRequest struct {
	ID string `json:"webhook_id"`
}

// An UpdateRequest is the body of PATCH webhooks/{webhook_id}. What is left out stays.
type UpdateRequest struct {
	ID          string  `json:"webhook_id"`
	Name        *string `json:"name"`
	Description *string `json:"description"`
	URL         *string `json:"url"`
	Events      []Event `json:"events"`
	Secret      *string `json:"secret"`
	Status      *string `json:"status"`
}

// A TestRequest is the body of POST webhooks/{webhook_id}/test.
type TestRequest struct {
	ID    string `json:"webhook_id"`
	Event *Event `json:"event"` // the webhook's first when left out
}

// A Reply carries one webhook.
type Reply struct {
	Webhook Webhook `json:"webhook"`
}

// A ListReply is a page of webhooks, newest first.
type ListReply struct {
	Webhooks      []Webhook `json:"webhooks,omitempty"`
	NextPageToken string    `json:"next_page_token,omitempty"`
}

// An Empty is the reply to a call that has nothing to say.
type Empty struct{}

// A Result says how a test went.
type Result struct {
	Success bool   `json:"success"` // the receiver answered 2xx
	Status  int    `json:"response_status,omitempty"`
	Body    string `json:"response_body,omitempty"` // its beginning
	Error   string `json:"error_message,omitempty"`
}

// A TestReply carries the result of a test.
type TestReply struct {
	Result Result `json:"result"`
}

func invalid(message string) error {
	return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: message}
}

// eventName is the event in the words of a message, e.g. model_version.created.
func eventName(e Event) string { return strings.ToLower(e.Entity + "." + e.Action) }

func eventOf(name string) Event {
	entity, action, _ := strings.Cut(strings.ToUpper(name), ".")
	return Event{entity, action}
}

// examples are the events that are sent, each with the data that a test sends.
func examples() map[string]map[string]any {
	tags := map[string]string{"example_key": "example_value"}
	return map[string]map[string]any{
		"registered_model.created": {"name": "example_model", "tags": tags, "description": "An example registered model"},
		"model_version.created": {
			"name": "example_model", "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678",
			"tags": tags, "description": "An example model version",
		},
		"model_version_alias.created": {"name": "example_model", "alias": "example_alias", "version": "1"},
		"model_version_alias.deleted": {"name": "example_model", "alias": "example_alias"},
		"prompt.created":              {"name": "example_prompt", "tags": tags, "description": "An example prompt"},
		"prompt_version.created": {
			"name": "example_prompt", "version": "1", "template": "Hello {{name}}!", "tags": tags,
			"description": "An example prompt version",
		},
		"prompt_alias.created": {"name": "example_prompt", "alias": "example_alias", "version": "1"},
		"prompt_alias.deleted": {"name": "example_prompt", "alias": "example_alias"},
	}
}

// check refuses a webhook that could not be.
func (h *Hooks) check(w *Webhook, secret string) error {
	if !nameForm.MatchString(w.Name) {
		return invalid("Webhook name is invalid. It must start and end with a letter or digit, be less than 63 characters " +
			"long, and contain only lower-case letters, digits, dots (.), underscores (_), and hyphens (-).")
	}
	if utf8.RuneCountInString(w.Description) > maxDescription || utf8.RuneCountInString(secret) > maxSecret {
		return invalid("The description and the secret of a webhook have at most 1000 characters.")
	}
	if w.Status != statusActive && w.Status != statusDisabled {
		return invalid("The status of a webhook is ACTIVE or DISABLED.")
	}
	if len(w.Events) == 0 {
		return invalid("Webhook events must be a non-empty list.")
	}
	known := examples()
	for _, e := range w.Events {
		if known[eventName(e)] == nil {
			return &stoa.Refusal{
				Reason: stoa.ReasonInvalid, Message: "This server sends no event " + eventName(e) + ".",
				Hint: "it sends registered_model.created, model_version.created, model_version_alias.created and .deleted, " +
					"and the same of prompts",
			}
		}
	}
	return h.checkURL(w.URL)
}

// owner refuses everybody else: an address may hold a token, and who sets one has this process send requests.
func owner(caller stoa.Caller) error {
	if caller.Owner {
		return nil
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonForbidden, Message: "webhooks are the owner's", Hint: "use the owner's key",
	}
}

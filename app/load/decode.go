package load

import (
	"encoding/json"
	"fmt"
)

// answered is a task as the service answers it. Its rev is in the ETag.
type answered struct {
	ID          string `json:"id"`
	Assignee    string `json:"assignee"`
	Description string `json:"description"`
	Done        bool   `json:"done"`
}

func (a answered) state() state {
	return state{Assignee: a.Assignee, Description: a.Description, Done: a.Done}
}

// decodeTask reads a task with its rev.
func decodeTask(from answer) (id string, s state, err error) {
	var a answered
	if err := json.Unmarshal(from.body, &a); err != nil {
		return "", state{}, err
	}
	s = a.state()
	if _, err := fmt.Sscanf(from.tag, `"%d-`, &s.Rev); err != nil {
		return a.ID, s, fmt.Errorf("there is no rev in the ETag %q: %w", from.tag, err)
	}
	return a.ID, s, nil
}

// decodeList returns the tasks of a list by id, without their revs: a list does
// not tell them. One that is there twice is an error.
func decodeList(body []byte) (map[string]state, error) {
	var list []answered
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	out := make(map[string]state, len(list))
	for _, a := range list {
		if _, twice := out[a.ID]; twice {
			return nil, fmt.Errorf("%s is there twice", a.ID)
		}
		out[a.ID] = a.state()
	}
	return out, nil
}

package load

import (
	"encoding/json"
	"fmt"
)

// answered is a task as the service answers it.
type answered struct {
	ID          string `json:"id"`
	Assignee    string `json:"assignee"`
	Description string `json:"description"`
	Done        bool   `json:"done"`
	Rev         int64  `json:"rev"`
}

func (a answered) state() state {
	return state{Rev: a.Rev, Assignee: a.Assignee, Description: a.Description, Done: a.Done}
}

func decodeTask(body []byte) (id string, s state, err error) {
	var a answered
	err = json.Unmarshal(body, &a)
	return a.ID, a.state(), err
}

// decodeList returns the tasks of a list by id. One that is there twice is an error.
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

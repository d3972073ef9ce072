package published

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/app/task"
)

// newTasks is the data access object on MongoDB.
type newTasks struct {
	client *mongo.Client
	tasks  *mongo.Collection
}

type document struct {
	ID          string `bson:"_id"`
	Assignee    string `bson:"assignee"`
	Description string `bson:"description"`
	Done        bool   `bson:"done"`
	Rev         int64  `bson:"rev"`
}

func documentOf(r record) document {
	return document{r.ID, r.Body.Assignee, r.Body.Description, r.Body.Done, r.Rev}
}

func (d document) record() record {
	return record{ID: d.ID, Rev: d.Rev,
		Body: task.Task{Assignee: d.Assignee, Description: d.Description, Done: d.Done}}
}

func openNew(uri, database string) (*newTasks, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return nil, errors.New("open the new database: the connection string is not valid") // it may hold a password
	}
	return &newTasks{client, client.Database(database).Collection("tasks")}, nil
}

func byID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

func (n *newTasks) get(ctx context.Context, id string) (record, bool, error) {
	var d document
	err := n.tasks.FindOne(ctx, byID(id)).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return record{}, false, nil
	}
	return d.record(), err == nil, err
}

func (n *newTasks) put(ctx context.Context, r record) error {
	_, err := n.tasks.ReplaceOne(ctx, byID(r.ID), documentOf(r), options.Replace().SetUpsert(true))
	return err
}

// insert leaves a document that is there already as it is.
func (n *newTasks) insert(ctx context.Context, r record) (inserted bool, err error) {
	_, err = n.tasks.InsertOne(ctx, documentOf(r))
	if mongo.IsDuplicateKeyError(err) {
		return false, nil
	}
	return err == nil, err
}

func (n *newTasks) delete(ctx context.Context, id string) error {
	_, err := n.tasks.DeleteOne(ctx, byID(id))
	return err
}

func (n *newTasks) list(ctx context.Context, f task.Filter, after string, limit int) ([]record, error) {
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}
	if f.Assignee != nil {
		filter = append(filter, bson.E{Key: "assignee", Value: *f.Assignee})
	}
	if f.Done != nil {
		filter = append(filter, bson.E{Key: "done", Value: *f.Done})
	}
	cursor, err := n.tasks.Find(ctx, filter, options.Find().SetSort(byAscendingID()).SetLimit(int64(limit)))
	if err != nil {
		return nil, err
	}
	var found []document
	if err := cursor.All(ctx, &found); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	list := make([]record, 0, len(found))
	for _, d := range found {
		list = append(list, d.record())
	}
	return list, nil
}

func byAscendingID() bson.D { return bson.D{{Key: "_id", Value: 1}} }

func (n *newTasks) close(ctx context.Context) error { return n.client.Disconnect(ctx) }

package work_test

import (
	"encoding/json"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/amammay/otorun/bench/internal/tacopb"
	"github.com/amammay/otorun/bench/internal/work"
)

// What is written by hand is what the libraries make of the same message.
func TestWire(t *testing.T) {
	for _, id := range []string{"small", "k1", "k100", "answer", "prose"} {
		size, err := work.SizeOf(id)
		if err != nil {
			t.Fatal(err)
		}
		var request tacopb.EatTacoRequest
		if err := proto.Unmarshal(size.Protobuf(), &request); err != nil || request.GetName() != size.Name || !slices.Equal(request.GetTacos(), size.Tacos) {
			t.Errorf("size %s: protobuf has %.40q and %d tacos (%v)", id, request.GetName(), len(request.GetTacos()), err)
		}
		var response tacopb.EatTacoResponse
		if err := proto.Unmarshal(size.AnswerProtobuf(), &response); err != nil || size.Check(response.GetTacoConsumptionStatus()) != nil {
			t.Errorf("size %s: protobuf's answer is %.60q (%v)", id, response.GetTacoConsumptionStatus(), err)
		}
		var answer struct{ TacoConsumptionStatus string }
		if err := json.Unmarshal(size.AnswerJSON(), &answer); err != nil || size.Check(answer.TacoConsumptionStatus) != nil {
			t.Errorf("size %s: JSON's answer is %.60q (%v)", id, answer.TacoConsumptionStatus, err)
		}
		if size.Check("Sammy Sosa has consumed 0 tacos") == nil {
			t.Errorf("size %s: a wrong answer passes", id)
		}
	}
}

"""What a run's picture shows."""

from plmjax.evals.curves import draw_curves, panels

RECORDS = [
    {"step": 10, "train/task_loss": 0.9, "train/task_accuracy": 0.5, "learning_rate": 1e-3},
    {"step": 20, "held_out/task_loss": 0.8, "held_out/f1": 0.4, "held_out/PER/f1": 0.4},
    {"step": 40, "held_out/task_loss": 0.7, "held_out/f1": 0.6, "held_out/recall": 0.5},
]


def test_figures_of_a_task_stand_in_place_of_accuracies():
    found = panels([*RECORDS, {"step": 40, "held_out/best_f1_threshold": -7.0}], "f1")
    assert found == {
        "loss (nats)": ["held_out/task_loss", "train/task_loss"],
        "figures (the best by f1)": ["held_out/f1", "held_out/recall", "train/task_accuracy"],
        "learning rate": ["learning_rate"],
    }


def test_others_show_losses_and_accuracies():
    assert panels(RECORDS)["accuracy"] == ["train/task_accuracy"]


def test_the_best_checkpoint_changes_the_picture(tmp_path):
    pictures = []
    for best in (None, 20, 40):
        draw_curves(RECORDS, tmp_path / "curves.png", "a run", "f1", best)
        pictures.append((tmp_path / "curves.png").read_bytes())
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert len(set(pictures)) == 3

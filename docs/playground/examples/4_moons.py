# A small network learns two moons
import random

from stage1_scalar import Tensor
from stage1_scalar.moons import MLP, make_moons, step

random.seed(3)
model = MLP(2, [4, 1])
points, labels = make_moons(50)
points = [[Tensor(x, requires_grad=False) for x in point] for point in points]
for i in range(10):
    loss, right = step(model, points, labels, lr=0.5)
    print(f"step {i + 1:2}   loss {loss:.4f}   right {right:4.0%}")

# The graph below is that of one point's score.
x = points[0]
model.zero_grad()
score = model(x)
score.backward()

# An expression
from stage1_scalar import Tensor

a, b, c = Tensor(2.0), Tensor(-0.5), Tensor(1.5)
out = (a * b + c).tanh()

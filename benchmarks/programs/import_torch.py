"""Imports torch: the least that any start of a rank takes."""

import torch
from mark import mark

assert torch
mark("imported")

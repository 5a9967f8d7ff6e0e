"""The data sets that can be downloaded.

Names, addresses and md5 are those of torchvision where it has the data set (a test compares them). They are repeated
here because importing torchvision takes seconds, and missing files should be reported without that wait.
"""

from prune_init.data.source import Download

IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
"""The unpacked files of MNIST and of Fashion-MNIST."""


def of_idx(*md5: str, ending: str = "") -> dict[str, str]:
    """The checksums of the files of `IDX`, in their order, by file name with `ending`."""
    return {f"{name}{ending}": found for name, found in zip(IDX, md5, strict=True)}


MNIST = Download(
    name="mnist",
    title="MNIST",
    folder="MNIST/raw",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    archives=of_idx(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
        ending=".gz",
    ),
)
FASHION_MNIST = Download(
    name="fashion_mnist",
    title="Fashion-MNIST",
    folder="FashionMNIST/raw",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    archives=of_idx(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
        ending=".gz",
    ),
)
CIFAR10 = Download(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    url="https://www.cs.toronto.edu/~kriz/",
    archives={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
)
CIFAR100 = Download(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-python",
    url="https://www.cs.toronto.edu/~kriz/",
    archives={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
)
TINY_IMAGENET = Download(
    name="tiny_imagenet",
    title="Tiny-ImageNet",
    folder="tiny-imagenet-200",
    url="http://cs231n.stanford.edu/",
    archives={"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
)

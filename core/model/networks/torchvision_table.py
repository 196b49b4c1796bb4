"""torchvision's networks that classify images, those around backbones, and the weights that it has of them. Never
imports torch.

A test compares with the installed torchvision. Its ResNets are in `core.model.spec` and `preprocessing_sources`.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamscope.core.model.networks.entries import Release
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Colour, Interpolation, Preprocessing


def _weights(
    file: str,
    crop: int,
    resize: int,
    interpolation: Interpolation = "bilinear",
    mean: Colour = IMAGENET_MEAN,
    std: Colour = IMAGENET_STD,
) -> Release:
    return Release(file, Preprocessing(crop, resize, interpolation, mean, std))


CLASSIFIERS: Mapping[str, Mapping[str, Release]] = {
    "alexnet": {"IMAGENET1K_V1": _weights("alexnet-owt-7be5be79", 224, 256)},
    "convnext_base": {"IMAGENET1K_V1": _weights("convnext_base-6075fbad", 224, 232)},
    "convnext_large": {"IMAGENET1K_V1": _weights("convnext_large-ea097f82", 224, 232)},
    "convnext_small": {"IMAGENET1K_V1": _weights("convnext_small-0c510722", 224, 230)},
    "convnext_tiny": {"IMAGENET1K_V1": _weights("convnext_tiny-983f1562", 224, 236)},
    "densenet121": {"IMAGENET1K_V1": _weights("densenet121-a639ec97", 224, 256)},
    "densenet161": {"IMAGENET1K_V1": _weights("densenet161-8d451a50", 224, 256)},
    "densenet169": {"IMAGENET1K_V1": _weights("densenet169-b2777c0a", 224, 256)},
    "densenet201": {"IMAGENET1K_V1": _weights("densenet201-c1103571", 224, 256)},
    "efficientnet_b0": {"IMAGENET1K_V1": _weights("efficientnet_b0_rwightman-7f5810bc", 224, 256, "bicubic")},
    "efficientnet_b1": {
        "IMAGENET1K_V1": _weights("efficientnet_b1_rwightman-bac287d4", 240, 256, "bicubic"),
        "IMAGENET1K_V2": _weights("efficientnet_b1-c27df63c", 240, 255),
    },
    "efficientnet_b2": {"IMAGENET1K_V1": _weights("efficientnet_b2_rwightman-c35c1473", 288, 288, "bicubic")},
    "efficientnet_b3": {"IMAGENET1K_V1": _weights("efficientnet_b3_rwightman-b3899882", 300, 320, "bicubic")},
    "efficientnet_b4": {"IMAGENET1K_V1": _weights("efficientnet_b4_rwightman-23ab8bcd", 380, 384, "bicubic")},
    "efficientnet_b5": {"IMAGENET1K_V1": _weights("efficientnet_b5_lukemelas-1a07897c", 456, 456, "bicubic")},
    "efficientnet_b6": {"IMAGENET1K_V1": _weights("efficientnet_b6_lukemelas-24a108a5", 528, 528, "bicubic")},
    "efficientnet_b7": {"IMAGENET1K_V1": _weights("efficientnet_b7_lukemelas-c5b4e57e", 600, 600, "bicubic")},
    "efficientnet_v2_l": {
        "IMAGENET1K_V1": _weights("efficientnet_v2_l-59c71312", 480, 480, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    },
    "efficientnet_v2_m": {"IMAGENET1K_V1": _weights("efficientnet_v2_m-dc08266a", 480, 480)},
    "efficientnet_v2_s": {"IMAGENET1K_V1": _weights("efficientnet_v2_s-dd5fe13b", 384, 384)},
    "googlenet": {"IMAGENET1K_V1": _weights("googlenet-1378be20", 224, 256)},
    "inception_v3": {"IMAGENET1K_V1": _weights("inception_v3_google-0cc3c7bd", 299, 342)},
    "maxvit_t": {"IMAGENET1K_V1": _weights("maxvit_t-bc5ab103", 224, 224, "bicubic")},
    "mnasnet0_5": {"IMAGENET1K_V1": _weights("mnasnet0.5_top1_67.823-3ffadce67e", 224, 256)},
    "mnasnet0_75": {"IMAGENET1K_V1": _weights("mnasnet0_75-7090bc5f", 224, 232)},
    "mnasnet1_0": {"IMAGENET1K_V1": _weights("mnasnet1.0_top1_73.512-f206786ef8", 224, 256)},
    "mnasnet1_3": {"IMAGENET1K_V1": _weights("mnasnet1_3-a4c69d6f", 224, 232)},
    "mobilenet_v2": {
        "IMAGENET1K_V1": _weights("mobilenet_v2-b0353104", 224, 256),
        "IMAGENET1K_V2": _weights("mobilenet_v2-7ebf99e0", 224, 232),
    },
    "mobilenet_v3_large": {
        "IMAGENET1K_V1": _weights("mobilenet_v3_large-8738ca79", 224, 256),
        "IMAGENET1K_V2": _weights("mobilenet_v3_large-5c1a4163", 224, 232),
    },
    "mobilenet_v3_small": {"IMAGENET1K_V1": _weights("mobilenet_v3_small-047dcff4", 224, 256)},
    "regnet_x_16gf": {
        "IMAGENET1K_V1": _weights("regnet_x_16gf-2007eb11", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_16gf-ba3796d7", 224, 232),
    },
    "regnet_x_1_6gf": {
        "IMAGENET1K_V1": _weights("regnet_x_1_6gf-e3633e7f", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_1_6gf-a12f2b72", 224, 232),
    },
    "regnet_x_32gf": {
        "IMAGENET1K_V1": _weights("regnet_x_32gf-9d47f8d0", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_32gf-6eb8fdc6", 224, 232),
    },
    "regnet_x_3_2gf": {
        "IMAGENET1K_V1": _weights("regnet_x_3_2gf-f342aeae", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_3_2gf-7071aa85", 224, 232),
    },
    "regnet_x_400mf": {
        "IMAGENET1K_V1": _weights("regnet_x_400mf-adf1edd5", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_400mf-62229a5f", 224, 232),
    },
    "regnet_x_800mf": {
        "IMAGENET1K_V1": _weights("regnet_x_800mf-ad17e45c", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_800mf-94a99ebd", 224, 232),
    },
    "regnet_x_8gf": {
        "IMAGENET1K_V1": _weights("regnet_x_8gf-03ceed89", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_x_8gf-2b70d774", 224, 232),
    },
    "regnet_y_128gf": {
        "IMAGENET1K_SWAG_LINEAR_V1": _weights("regnet_y_128gf_lc_swag-cbe8ce12", 224, 224, "bicubic"),
        "IMAGENET1K_SWAG_E2E_V1": _weights("regnet_y_128gf_swag-c8ce3e52", 384, 384, "bicubic"),
    },
    "regnet_y_16gf": {
        "IMAGENET1K_V1": _weights("regnet_y_16gf-9e6ed7dd", 224, 256),
        "IMAGENET1K_SWAG_E2E_V1": _weights("regnet_y_16gf_swag-43afe44d", 384, 384, "bicubic"),
        "IMAGENET1K_SWAG_LINEAR_V1": _weights("regnet_y_16gf_lc_swag-f3ec0043", 224, 224, "bicubic"),
        "IMAGENET1K_V2": _weights("regnet_y_16gf-3e4a00f9", 224, 232),
    },
    "regnet_y_1_6gf": {
        "IMAGENET1K_V1": _weights("regnet_y_1_6gf-b11a554e", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_y_1_6gf-0d7bc02a", 224, 232),
    },
    "regnet_y_32gf": {
        "IMAGENET1K_V1": _weights("regnet_y_32gf-4dee3f7a", 224, 256),
        "IMAGENET1K_SWAG_E2E_V1": _weights("regnet_y_32gf_swag-04fdfa75", 384, 384, "bicubic"),
        "IMAGENET1K_SWAG_LINEAR_V1": _weights("regnet_y_32gf_lc_swag-e1583746", 224, 224, "bicubic"),
        "IMAGENET1K_V2": _weights("regnet_y_32gf-8db6d4b5", 224, 232),
    },
    "regnet_y_3_2gf": {
        "IMAGENET1K_V1": _weights("regnet_y_3_2gf-b5a9779c", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_y_3_2gf-9180c971", 224, 232),
    },
    "regnet_y_400mf": {
        "IMAGENET1K_V1": _weights("regnet_y_400mf-c65dace8", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_y_400mf-e6988f5f", 224, 232),
    },
    "regnet_y_800mf": {
        "IMAGENET1K_V1": _weights("regnet_y_800mf-1b27b58c", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_y_800mf-58fc7688", 224, 232),
    },
    "regnet_y_8gf": {
        "IMAGENET1K_V1": _weights("regnet_y_8gf-d0d0e4a8", 224, 256),
        "IMAGENET1K_V2": _weights("regnet_y_8gf-dc2b1b54", 224, 232),
    },
    "shufflenet_v2_x0_5": {"IMAGENET1K_V1": _weights("shufflenetv2_x0.5-f707e7126e", 224, 256)},
    "shufflenet_v2_x1_0": {"IMAGENET1K_V1": _weights("shufflenetv2_x1-5666bf0f80", 224, 256)},
    "shufflenet_v2_x1_5": {"IMAGENET1K_V1": _weights("shufflenetv2_x1_5-3c479a10", 224, 232)},
    "shufflenet_v2_x2_0": {"IMAGENET1K_V1": _weights("shufflenetv2_x2_0-8be3c8ee", 224, 232)},
    "squeezenet1_0": {"IMAGENET1K_V1": _weights("squeezenet1_0-b66bff10", 224, 256)},
    "squeezenet1_1": {"IMAGENET1K_V1": _weights("squeezenet1_1-b8a52dc0", 224, 256)},
    "swin_b": {"IMAGENET1K_V1": _weights("swin_b-68c6b09e", 224, 238, "bicubic")},
    "swin_s": {"IMAGENET1K_V1": _weights("swin_s-5e29d889", 224, 246, "bicubic")},
    "swin_t": {"IMAGENET1K_V1": _weights("swin_t-704ceda3", 224, 232, "bicubic")},
    "swin_v2_b": {"IMAGENET1K_V1": _weights("swin_v2_b-781e5279", 256, 272, "bicubic")},
    "swin_v2_s": {"IMAGENET1K_V1": _weights("swin_v2_s-637d8ceb", 256, 260, "bicubic")},
    "swin_v2_t": {"IMAGENET1K_V1": _weights("swin_v2_t-b137f0e2", 256, 260, "bicubic")},
    "vgg11": {"IMAGENET1K_V1": _weights("vgg11-8a719046", 224, 256)},
    "vgg11_bn": {"IMAGENET1K_V1": _weights("vgg11_bn-6002323d", 224, 256)},
    "vgg13": {"IMAGENET1K_V1": _weights("vgg13-19584684", 224, 256)},
    "vgg13_bn": {"IMAGENET1K_V1": _weights("vgg13_bn-abd245e5", 224, 256)},
    "vgg16": {"IMAGENET1K_V1": _weights("vgg16-397923af", 224, 256)},
    "vgg16_bn": {"IMAGENET1K_V1": _weights("vgg16_bn-6c64b313", 224, 256)},
    "vgg19": {"IMAGENET1K_V1": _weights("vgg19-dcbb9e9d", 224, 256)},
    "vgg19_bn": {"IMAGENET1K_V1": _weights("vgg19_bn-c79401a0", 224, 256)},
    "vit_b_16": {
        "IMAGENET1K_SWAG_E2E_V1": _weights("vit_b_16_swag-9ac1b537", 384, 384, "bicubic"),
        "IMAGENET1K_SWAG_LINEAR_V1": _weights("vit_b_16_lc_swag-4e70ced5", 224, 224, "bicubic"),
        "IMAGENET1K_V1": _weights("vit_b_16-c867db91", 224, 256),
    },
    "vit_b_32": {"IMAGENET1K_V1": _weights("vit_b_32-d86f8d99", 224, 256)},
    "vit_h_14": {
        "IMAGENET1K_SWAG_LINEAR_V1": _weights("vit_h_14_lc_swag-c1eb923e", 224, 224, "bicubic"),
        "IMAGENET1K_SWAG_E2E_V1": _weights("vit_h_14_swag-80465313", 518, 518, "bicubic"),
    },
    "vit_l_16": {
        "IMAGENET1K_SWAG_E2E_V1": _weights("vit_l_16_swag-4f3808c9", 512, 512, "bicubic"),
        "IMAGENET1K_SWAG_LINEAR_V1": _weights("vit_l_16_lc_swag-4d563306", 224, 224, "bicubic"),
        "IMAGENET1K_V1": _weights("vit_l_16-852ce7e3", 224, 242),
    },
    "vit_l_32": {"IMAGENET1K_V1": _weights("vit_l_32-c7638314", 224, 256)},
}
"""By name of the network and name of the weights, the default ones last. Not VGG-16's IMAGENET1K_FEATURES, whose
classifier is not a number."""

BACKBONES: Mapping[str, Mapping[str, Release]] = {
    "fcn_resnet50": {"COCO_WITH_VOC_LABELS_V1": _weights("fcn_resnet50_coco-1167a1af", 224, 256)},
    "fcn_resnet101": {"COCO_WITH_VOC_LABELS_V1": _weights("fcn_resnet101_coco-7ecb50ca", 224, 256)},
    "deeplabv3_resnet50": {"COCO_WITH_VOC_LABELS_V1": _weights("deeplabv3_resnet50_coco-cd0a2569", 224, 256)},
    "deeplabv3_resnet101": {"COCO_WITH_VOC_LABELS_V1": _weights("deeplabv3_resnet101_coco-586e9e4e", 224, 256)},
    "fasterrcnn_resnet50_fpn": {"COCO_V1": _weights("fasterrcnn_resnet50_fpn_coco-258fb6c6", 224, 256)},
    "maskrcnn_resnet50_fpn": {"COCO_V1": _weights("maskrcnn_resnet50_fpn_coco-bf2d0c1e", 224, 256)},
    "retinanet_resnet50_fpn": {"COCO_V1": _weights("retinanet_resnet50_fpn_coco-eeacb38b", 224, 256)},
}
"""The same of networks that segment and detect. They were trained on larger images of any shape, in ImageNet's colours;
224 px, as ResNets are shown, is quicker."""

"""What the optional template of baked machine images promises."""

from typing import Any

from adapters.machines.ec2 import DISK_KEY
from infra.compose import compose
from operations.bake import TEMPLATE, image_parameter

RESOURCES: dict[str, Any] = compose(TEMPLATE.read_text())["Resources"]


def part(name: str) -> dict[str, Any]:
    return dict(RESOURCES[name]["Properties"])


def test_what_is_baked_can_be_launched_whatever_the_accounts_default_key() -> None:
    (disk,) = part("Recipe")["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"] is True
    assert disk["Ebs"]["KmsKeyId"]["Fn::Sub"].endswith(f":{DISK_KEY}")


def test_a_few_images_are_kept_and_those_of_this_stack_only() -> None:
    keep = part("Keep")
    (rule,) = keep["PolicyDetails"]
    whole = {"Type": "DELETE", "IncludeResources": {"Amis": True, "Snapshots": True}}
    assert (rule["Action"], rule["Filter"]) == (whole, {"Type": "COUNT", "Value": 4})
    assert keep["Status"] == "ENABLED"
    marked = {"runner-fleet:bake": {"Ref": "AWS::StackName"}}
    assert keep["ResourceSelection"] == {"TagMap": marked}
    assert part("Pipeline")["ImageTags"] == marked


def test_destroy_finds_what_is_published() -> None:
    distribution = part("Distribution")["Distributions"][0]
    (parameter,) = distribution["SsmParameterConfigurations"]
    wanted = image_parameter("${FleetStack}", "${Architecture}")
    assert parameter["ParameterName"] == {"Fn::Sub": wanted}
    # By this tag it finds machine images.
    assert distribution["AmiDistributionConfiguration"]["AmiTags"] == {
        "runner-fleet:stack": {"Ref": "FleetStack"}
    }

"""What every role of the template is refused, whatever else it may do."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.permissions import roles
from local.aws.engine import ACCOUNT, CONFIG, REGION
from local.aws.stack import CODE_BUCKET
from tests.integration.security.conftest import Quiet
from tests.integration.security.scene import session
from tests.unit.infra.documents import template

REFUSALS = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
FOREIGN = "i-0fedcba9876543210"
ASSUMABLE = '{"Version": "2012-10-17", "Statement": []}'
Calls = dict[str, Callable[[], Any]]


def forbidden(role: boto3.Session, quiet: Quiet) -> Calls:
    """The calls, by their IAM action and what they aim at."""

    def client(service: str) -> Any:
        return role.client(service, config=CONFIG)  # type: ignore[call-overload]

    stack, name = quiet.stack, quiet.stack.name
    arn = f"arn:aws:{{}}:{REGION}:{ACCOUNT}:{{}}".format
    table = arn("dynamodb", f"table/{stack.ledger_table}")
    iam, ec2, s3 = client("iam"), client("ec2"), client("s3")
    ledger, secrets, functions = client("dynamodb"), client("secretsmanager"), client("lambda")
    events, machines, queues = client("events"), client("stepfunctions"), client("sqs")
    own = quiet.arns["SweepRole"].rpartition("/")[2]
    event = {"DetailType": "job.pending", "Detail": "{}", "EventBusName": stack.bus}
    put = {"Key": {"pk": {"S": "config"}, "sk": {"S": "current"}}}
    return {
        "iam:ListRoles": iam.list_roles,
        "iam:CreateUser": lambda: iam.create_user(UserName="x"),
        "iam:CreateAccessKey": lambda: iam.create_access_key(UserName="x"),
        "iam:PutRolePolicy": lambda: iam.put_role_policy(
            RoleName=own, PolicyName="x", PolicyDocument=ASSUMABLE
        ),
        "iam:UpdateAssumeRolePolicy": lambda: iam.update_assume_role_policy(
            RoleName=own, PolicyDocument=ASSUMABLE
        ),
        "sts:AssumeRole of another role": lambda: client("sts").assume_role(
            RoleArn=quiet.arns["ReconcileRole"], RoleSessionName="other"
        ),
        "kms:CreateKey": client("kms").create_key,
        "kms:ScheduleKeyDeletion": lambda: client("kms").schedule_key_deletion(
            KeyId="11111111-1111-1111-1111-111111111111"
        ),
        "dynamodb:Scan": lambda: ledger.scan(TableName=stack.ledger_table),
        "dynamodb:PartiQLSelect": lambda: ledger.execute_statement(
            Statement=f'SELECT * FROM "{stack.ledger_table}"'
        ),
        "dynamodb:BatchWriteItem": lambda: ledger.batch_write_item(
            RequestItems={stack.ledger_table: [{"DeleteRequest": put}]}
        ),
        "dynamodb:DeleteTable": lambda: ledger.delete_table(TableName=stack.ledger_table),
        "dynamodb:UpdateTimeToLive": lambda: ledger.update_time_to_live(
            TableName=stack.ledger_table,
            TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"},
        ),
        "dynamodb:CreateBackup": lambda: ledger.create_backup(
            TableName=stack.ledger_table, BackupName="copy"
        ),
        "dynamodb:ExportTableToPointInTime": lambda: ledger.export_table_to_point_in_time(
            TableArn=table, S3Bucket="elsewhere"
        ),
        "ec2:RunInstances without the launch template": lambda: ec2.run_instances(
            ImageId="ami-1", MinCount=1, MaxCount=1
        ),
        "ec2:TerminateInstances of another's": lambda: ec2.terminate_instances(
            InstanceIds=[FOREIGN]
        ),
        "ec2:StopInstances": lambda: ec2.stop_instances(InstanceIds=[FOREIGN]),
        "ec2:CreateTags on another's": lambda: ec2.create_tags(
            Resources=[FOREIGN], Tags=[{"Key": "runner-fleet:stack", "Value": name}]
        ),
        "ec2:ModifyInstanceAttribute": lambda: ec2.modify_instance_attribute(
            InstanceId=FOREIGN, DisableApiTermination={"Value": True}
        ),
        "ec2:DescribeInstanceAttribute": lambda: ec2.describe_instance_attribute(
            InstanceId=FOREIGN, Attribute="userData"
        ),
        "ec2:CreateLaunchTemplateVersion": lambda: ec2.create_launch_template_version(
            LaunchTemplateId=stack.launch_template, LaunchTemplateData={"ImageId": "ami-1"}
        ),
        "ec2:AuthorizeSecurityGroupIngress": lambda: ec2.authorize_security_group_ingress(
            GroupId="sg-1", IpProtocol="-1", CidrIp="0.0.0.0/0"
        ),
        "secretsmanager:GetSecretValue of another's": lambda: secrets.get_secret_value(
            SecretId="foreign"
        ),
        "secretsmanager:ListSecrets": secrets.list_secrets,
        "secretsmanager:DeleteSecret": lambda: secrets.delete_secret(SecretId=stack.gitlab_secret),
        "secretsmanager:PutSecretValue of GitLab's": lambda: secrets.put_secret_value(
            SecretId=stack.gitlab_secret, SecretString="{}"
        ),
        "s3:GetObject of the code": lambda: s3.get_object(Bucket=CODE_BUCKET, Key="x"),
        "s3:PutObject of the code": lambda: s3.put_object(Bucket=CODE_BUCKET, Key="x", Body=b""),
        "s3:DeleteObject of the cache": lambda: s3.delete_object(
            Bucket=stack.cache_bucket, Key="x"
        ),
        "s3:PutBucketPolicy": lambda: s3.put_bucket_policy(
            Bucket=stack.cache_bucket, Policy=ASSUMABLE
        ),
        "lambda:UpdateFunctionCode": lambda: functions.update_function_code(
            FunctionName=f"{name}-sweep", ZipFile=b"x"
        ),
        "lambda:UpdateFunctionConfiguration": lambda: functions.update_function_configuration(
            FunctionName=f"{name}-sweep", Timeout=3
        ),
        "lambda:GetFunction": lambda: functions.get_function(FunctionName=f"{name}-sweep"),
        "lambda:AddPermission": lambda: functions.add_permission(
            FunctionName=f"{name}-sweep",
            StatementId="x",
            Action="lambda:InvokeFunction",
            Principal="*",
        ),
        "lambda:InvokeFunction of the webhook": lambda: functions.invoke(
            FunctionName=f"{name}-webhook"
        ),
        "events:PutEvents in another's name": lambda: events.put_events(
            Entries=[{**event, "Source": "runner-fleet.other"}]
        ),
        "events:PutEvents on the account's bus": lambda: events.put_events(
            Entries=[{**event, "Source": "runner-fleet.webhook", "EventBusName": "default"}]
        ),
        "events:PutRule": lambda: events.put_rule(Name="x", ScheduleExpression="rate(1 minute)"),
        "events:DisableRule": lambda: events.disable_rule(Name=f"{name}-EveryMinute"),
        "events:PutPermission": lambda: events.put_permission(
            EventBusName=stack.bus,
            Action="events:PutEvents",
            Principal="*",
            StatementId="x",
        ),
        "states:UpdateStateMachine": lambda: machines.update_state_machine(
            stateMachineArn=stack.scale_machine, roleArn=quiet.arns["ScaleMachineRole"]
        ),
        "states:StopExecution": lambda: machines.stop_execution(
            executionArn=stack.scale_machine.replace("stateMachine", "execution") + ":x"
        ),
        "sqs:PurgeQueue": lambda: queues.purge_queue(QueueUrl=stack.ec2_queue_url),
        "sqs:SetQueueAttributes": lambda: queues.set_queue_attributes(
            QueueUrl=stack.ec2_queue_url, Attributes={"VisibilityTimeout": "0"}
        ),
        "sqs:SendMessage to the events' letters": lambda: queues.send_message(
            QueueUrl=stack.event_dead_letter_url, MessageBody="x"
        ),
        "scheduler:DeleteSchedule": lambda: client("scheduler").delete_schedule(
            Name="x", GroupName=stack.schedule_group
        ),
        "scheduler:CreateSchedule in another group": lambda: client("scheduler").create_schedule(
            Name="x",
            ScheduleExpression="at(2099-01-01T00:00:00)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": stack.expiry_dead_letter_arn, "RoleArn": stack.expiry_role},
        ),
        "ssm:GetParameters of another's": lambda: client("ssm").get_parameters(
            Names=["/database/password"]
        ),
        "ssm:SendCommand": lambda: client("ssm").send_command(
            InstanceIds=[FOREIGN], DocumentName="AWS-RunShellScript"
        ),
        "logs:DeleteLogGroup": lambda: client("logs").delete_log_group(
            logGroupName=f"/aws/lambda/{name}-sweep"
        ),
        "logs:GetLogEvents": lambda: client("logs").get_log_events(
            logGroupName=f"/aws/lambda/{name}-sweep", logStreamName="x"
        ),
        "cloudformation:DeleteStack": lambda: client("cloudformation").delete_stack(StackName=name),
        "cloudformation:UpdateStack": lambda: client("cloudformation").update_stack(
            StackName=name, UsePreviousTemplate=True
        ),
    }


def answer(call: Callable[[], Any]) -> str:
    """The code of the error; "done" where there is none."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


@pytest.fixture(scope="module", autouse=True)
def foreign_secret(quiet: Quiet) -> None:
    """A secret of the account that is not the fleet's."""
    quiet.engine.client("secretsmanager").create_secret(Name="foreign", SecretString="x")


@pytest.mark.parametrize("role", roles(template()))
def test_a_role_is_refused_what_the_fleet_never_does(quiet: Quiet, role: str) -> None:
    calls = forbidden(session(quiet.engine, quiet.arns[role]), quiet)
    answers = {name: answer(call) for name, call in calls.items()}
    assert {name: code for name, code in answers.items() if code not in REFUSALS} == {}

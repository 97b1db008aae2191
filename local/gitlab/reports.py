"""The types of reports, and how each is packed and named. Pure.

Source: GitLab, `Enums::Ci::JobArtifact`.
"""

GZIP, RAW, ZIP = "gzip", "raw", "zip"

# Type of report: how it is sent, and under which name.
REPORTS: dict[str, tuple[str, str]] = {
    "accessibility": (RAW, "gl-accessibility.json"),
    "annotations": (GZIP, "gl-annotations.json"),
    "api_fuzzing": (RAW, "gl-api-fuzzing-report.json"),
    "browser_performance": (RAW, "browser-performance.json"),
    "cluster_image_scanning": (RAW, "gl-cluster-image-scanning-report.json"),
    "cobertura": (GZIP, "cobertura-coverage.xml"),
    "codequality": (RAW, "gl-code-quality-report.json"),
    "container_scanning": (RAW, "gl-container-scanning-report.json"),
    "coverage_fuzzing": (RAW, "gl-coverage-fuzzing.json"),
    "cyclonedx": (GZIP, "gl-sbom.cdx.json"),
    "dast": (RAW, "gl-dast-report.json"),
    "dependency_scanning": (RAW, "gl-dependency-scanning-report.json"),
    "dotenv": (GZIP, ".env"),
    "jacoco": (GZIP, "jacoco-coverage.xml"),
    "junit": (GZIP, "junit.xml"),
    "license_scanning": (RAW, "gl-license-scanning-report.json"),
    "load_performance": (RAW, "load-performance.json"),
    "lsif": (ZIP, "lsif.json"),
    "metrics": (GZIP, "metrics.txt"),
    "performance": (RAW, "performance.json"),
    "repository_xray": (GZIP, "gl-repository-xray.json"),
    "requirements": (RAW, "requirements.json"),
    "requirements_v2": (RAW, "requirements_v2.json"),
    "sarif": (RAW, "gl-sarif-report.json"),
    "sast": (RAW, "gl-sast-report.json"),
    "secret_detection": (RAW, "gl-secret-detection-report.json"),
    "terraform": (RAW, "tfplan.json"),
}
# Reports that a runner sends without a line in the CI file.
FROM_RUNNER = {"metadata": GZIP, "metrics_referee": GZIP, "network_referee": GZIP, "trace": RAW}

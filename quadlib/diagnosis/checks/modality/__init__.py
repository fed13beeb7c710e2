"""Contracts of the stage modality."""

from quadlib.diagnosis.checks.modality import alignment as alignment
from quadlib.diagnosis.checks.modality import identity as identity
from quadlib.diagnosis.checks.modality import observed as observed
from quadlib.diagnosis.checks.modality import observed_files as observed_files
from quadlib.diagnosis.checks.modality import observed_links as observed_links
from quadlib.diagnosis.checks.modality import observed_masks as observed_masks
from quadlib.diagnosis.checks.modality import presence as presence
from quadlib.diagnosis.checks.modality import rows as rows
